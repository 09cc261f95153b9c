"""How much of playing and learning happens at the same time.

A run of RL in which replica and learner sleep for as long as real ones took (`actors.simulated`,
`learners.rl.simulated`); all else is jobs.rl's: game, workers, ledger, traces, batches, loop,
canaries, checkpoints, publication. 16 episodes of 12 decisions make a step, and 16 places play.

overlap: the ideal time over the time taken, from when version 1 is served to when the last one is.
Ideal is what no schedule can go below: nothing can be learned before the first batch is played,
and the last batch can't be learned from before all is played,

    max(play of the first batch + learning, play + learning from the last batch),

play being the time of all answers by the 16 that are made at once, learning that of all updates.
learner_idle: share of the time taken in which the learner waits for a batch. replica_idle: in which
no replica has a request. `*_sync` is the same with max_staleness 0, where they take turns.
A figure is the median of interleaved repeats; `<row>_iqr` the distance between their quartiles.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobs.benchmarks import median_of

if TYPE_CHECKING:
    from cluster.types import Trajectory
    from configs.rl import RlConfig

ROWS: Final = {
    "overlap": "ideal time over time taken, max_staleness 1",
    "learner_idle": "share of the time in which the learner waits for a batch",
    "replica_idle": "share of the time in which no replica has a request",
    "overlap_sync": "ideal time over time taken, max_staleness 0",
    "learner_idle_sync": "of that",
    "replica_idle_sync": "of that",
}

_GROUPS: Final = 4
_SIZE: Final = 4
_PLACES: Final = _GROUPS * _SIZE
_TURNS: Final = 12
_STEPS: Final = 5
_REPEATS: Final = 3


def run(
    num_steps: int = _STEPS, num_turns: int = _TURNS, repeats: int = _REPEATS
) -> dict[str, float]:
    """The figures of `ROWS`, each with its `_iqr`."""
    from cluster.session import connect
    from configs.jobs import ClusterConfig

    measured: dict[str, list[float]] = {row: [] for row in ROWS}
    with connect(ClusterConfig(address="local")):
        for _ in range(repeats):
            for max_staleness, name in ((1, ""), (0, "_sync")):
                for row, value in _measure(num_steps, num_turns, max_staleness).items():
                    measured[f"{row}{name}"].append(value)
    figures: dict[str, float] = {}
    for row, values in measured.items():
        figures |= median_of(row, values)
    return figures


def ideal_s(play_s: Sequence[float], learn_s: Sequence[float]) -> float:
    """The least time in which steps can be played and learned from, each told by step, seconds."""
    return max(play_s[0] + sum(learn_s), sum(play_s) + learn_s[-1])


def _measure(num_steps: int, num_turns: int, max_staleness: int) -> dict[str, float]:
    from cluster.traces import read_trajectories
    from learners.rl.keeper import checkpoints_of
    from learners.rl.simulated import SPAN

    with tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder, "overlap"), num_steps, num_turns, max_staleness)
        busy_s = _train(config)
        span_s: float = json.loads(Path(config.output, SPAN).read_text(encoding="utf-8"))
        played = list(read_trajectories(Path(config.output, "traces")))
        progress = checkpoints_of(config).last()
    return {
        "overlap": ideal_s(*_work(played, num_steps)) / span_s,
        "learner_idle": progress.idle_s / span_s,
        "replica_idle": 1 - busy_s / span_s,
    }


def _work(played: "Sequence[Trajectory]", num_steps: int) -> tuple[list[float], list[float]]:
    """Seconds that play and learning take of each step, as they slept.

    Raises:
        ValueError: not every step's episodes were played, each once.
    """
    from actors.policies.vllm import sampling_seed
    from actors.simulated import answer_s
    from learners.rl.simulated import DECISION_S

    if len({one.spec for one in played}) != len(played) or len(played) != num_steps * _PLACES:
        raise ValueError(f"{len(played)} episodes were played, not {num_steps} x {_PLACES}")
    play_s, learn_s = [0.0] * num_steps, [0.0] * num_steps
    for one in played:
        step = one.spec.seed // _GROUPS
        answers = (answer_s(sampling_seed(one.spec, turn.index)) for turn in one.turns)
        play_s[step] += sum(answers) / _PLACES
        learn_s[step] += len(one.turns) * DECISION_S
    return play_s, learn_s


def _config(output: Path, num_steps: int, num_turns: int, max_staleness: int) -> "RlConfig":
    """Group g plays world g."""
    from configs.rl import RlConfig

    settings: dict[str, Any] = {
        "output": str(output),
        "seeds": f"0-{num_steps * _GROUPS - 1}",
        "num_steps": num_steps,
        "groups_per_step": _GROUPS,
        "group_size": _SIZE,
        "max_staleness": max_staleness,
        "minibatch_size": 64,
        "policy": {"model": "configs/models/tiny", "max_tokens": 32, "engine": {"lora": {}}},
        "prompt": {"image_only": True, "max_actions": 1},
        "play": {"max_turns": num_turns},
        "evaluation": {"every_steps": None},
        "checkpoint": {"final": "last"},
        "cluster": {"num_workers": 1, "worker_cpus": 0, "episodes_per_worker": _PLACES},
    }
    return RlConfig.model_validate(settings)


def _train(config: "RlConfig") -> float:
    """A run, as jobs.rl starts it; returns for how long its replica had requests, seconds."""
    from dataclasses import replace

    import ray

    from actors.model_files import locate, portable
    from actors.replica_pool import ReplicaPool
    from actors.rollout import training
    from actors.simulated import SimulatedReplica, keep_all
    from jobs.rl_play import rollout_of, training_of
    from learners.rl.simulated import fit
    from learners.rl.worker import RlTask

    model = portable(config.policy.model)
    rollout, asked = rollout_of(config), replace(training_of(config), judge=keep_all)
    with ReplicaPool(rollout.name, model, config.policy.engine, 0, SimulatedReplica) as pool:
        pool.wait_until_ready(config.cluster.start_timeout_s)
        with training(rollout, asked) as ledger:
            playing = ledger.run.remote()
            fit(RlTask(config=config, model=model, locate=locate, ledger=ledger, store=pool.store))
            ray.get(ledger.close.remote())
            ray.get(playing)
        (replica,) = pool.handles
        busy_s: float = ray.get(replica.busy_s.remote())
        return busy_s
