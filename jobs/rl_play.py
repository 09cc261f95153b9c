"""What a run of RL asks of the pool of actors."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from actors.rollout import Rollout, Training
from actors.seat import seat
from cluster.errors import RunError
from cluster.placement import Plan, Role, plan
from cluster.session import nodes
from cluster.training.account import TrainingAccount
from cluster.training.setup import Books, GroupSetup
from configs.rl import RlConfig
from jobs.playing import replica_role
from jobs.training import learner_role
from learners.rl.judge import FlatJudge
from learners.rl.keeper import read_account

_GIB = 2**30


def plan_of(config: RlConfig) -> Plan:
    """Where the actors go.

    Raises:
        UserError: the cluster has no room for them; says what is missing.
    """
    cluster = config.cluster
    roles = [
        replica_role(config.policy.engine),
        learner_role(config.learner),
        Role(name="worker", count=cluster.num_workers, cpus=cluster.worker_cpus),
    ]
    return plan(roles, nodes())


def rollout_of(config: RlConfig) -> Rollout:
    """Who plays, and where the traces go; the ledger decides what is played."""
    name = Path(config.output).name
    replicas = tuple(
        f"{name}/replica-{index}" for index in range(config.policy.engine.num_replicas)
    )
    setup = seat(config.policy, config, version=0)
    return Rollout(
        name=name,
        specs=(),
        setup=replace(setup, replicas=replicas, turn_version=config.turn_version),
        traces=Path(config.output, "traces"),
        cluster=config.cluster,
    )


def training_of(config: RlConfig) -> Training:
    """What is asked of the ledger."""
    is_evaluated = config.evaluation.every_steps is not None
    return Training(
        groups=GroupSetup(
            seeds=tuple(config.seeds),
            group_size=config.group_size,
            groups_per_step=config.groups_per_step,
            num_steps=config.num_steps,
            max_staleness=config.max_staleness,
            max_held_bytes=int(config.max_held_gib * _GIB),
            max_consecutive_drops=config.max_consecutive_drops,
        ),
        judge=FlatJudge(config.algorithm.advantage, config.algorithm.gamma),
        read_snapshot=partial(read_account, config),
        evaluation_seeds=tuple(config.evaluation.seeds) if is_evaluated else (),
    )


def last_books(config: RlConfig) -> Books:
    """What the last checkpoint tells of the episodes; of a run that has one."""
    what = training_of(config)
    account = what.read_snapshot()
    if account is None:
        raise RunError(f"{config.output} has no checkpoint")
    return TrainingAccount(what.groups, what.judge, account["groups"]).books()
