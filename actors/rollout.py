"""Play on the cluster: workers, ledger and writer, started and cleared away."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.worker import RolloutWorker, WorkerSetup
from cluster.errors import RunError
from cluster.ledger_actor import LedgerActor, LedgerSetup, Progress
from cluster.remote import own_cause, root_cause, wait_until_ready
from cluster.trace_writer import TraceWriter
from cluster.training.account import Judge
from cluster.training.ledger import ReadSnapshot, TrainingLedger
from cluster.training.setup import GroupSetup, TrainingProgress, TrainingSetup
from cluster.types import EpisodeSpec
from configs.jobs import ClusterConfig

_EPISODES_PER_PART = 32
_TICK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What to play, who plays it, and where its traces go."""

    name: str
    """Prefix of the actors' names."""
    specs: tuple[EpisodeSpec, ...]
    setup: WorkerSetup
    traces: Path
    cluster: ClusterConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a training run wants of its play."""

    groups: GroupSetup
    judge: Judge
    """Must be picklable, as `read_snapshot` must."""
    read_snapshot: ReadSnapshot
    evaluation_seeds: tuple[int, ...] = ()


def roll_out(rollout: Rollout) -> Iterator[Progress]:
    """Play everything; yields news about twice a second, the last one settled.

    Raises:
        PickaxeError: the run can't go on; what was written stays, and can be continued.
    """
    with _crew(rollout) as (workers, writer, actors):
        ledger = _ledger(rollout, workers, writer)
        actors.append(ledger)
        wait_until_ready(workers, "rollout worker", rollout.cluster.start_timeout_s)
        yield from _watch(ledger)


@contextmanager
def training(rollout: Rollout, what: Training) -> Iterator[Any]:
    """The handle of a `TrainingLedger` whose workers are ready; its `run` is the caller's to call.

    `rollout` lists no episodes: the ledger decides which are played.

    Raises:
        RunError: a worker did not start.
    """
    with _crew(rollout) as (workers, _, actors):
        ledger = _training_ledger(rollout, what)
        actors.append(ledger)
        wait_until_ready(workers, "rollout worker", rollout.cluster.start_timeout_s)
        yield ledger


def watch_training(ledger: Any) -> Iterator[TrainingProgress]:
    """Have a training run's play done; yields news about twice a second.

    Raises:
        PickaxeError: the run can't go on; what was committed stays, and can be continued.
    """
    served: int | None = None
    for progress in _watch(ledger):
        if progress.version is None and served is not None:
            # It was killed together with all the workers that could have told it.
            ledger.serve.remote(served)
        served = progress.version or served
        yield progress


@contextmanager
def _crew(rollout: Rollout) -> Iterator[tuple[list[Any], Any, list[Any]]]:
    """Workers, the writer, and a list of all actors that are to be gone at the end."""
    actors: list[Any] = []
    try:
        workers = [_worker(rollout, index) for index in range(rollout.cluster.num_workers)]
        actors += workers
        writer = _writer(rollout)
        actors.append(writer)
        yield workers, writer, actors
    finally:
        for actor in reversed(actors):
            ray.kill(actor)


def _worker(rollout: Rollout, index: int) -> Any:
    cluster = rollout.cluster
    return (
        ray.remote(RolloutWorker)
        .options(
            name=_worker_name(rollout, index),
            num_cpus=cluster.worker_cpus,
            max_restarts=cluster.max_restarts,
            max_concurrency=cluster.episodes_per_worker + 8,
        )
        .remote(replace(rollout.setup, index=index))
    )


def _worker_name(rollout: Rollout, index: int) -> str:
    return f"{rollout.name}/worker-{index}"


def _writer_name(rollout: Rollout) -> str:
    return f"{rollout.name}/trace-writer"


def _writer(rollout: Rollout) -> Any:
    return (
        ray.remote(TraceWriter)
        .options(
            name=_writer_name(rollout),
            num_cpus=0,
            max_restarts=rollout.cluster.max_restarts,
            scheduling_strategy=_here(),
        )
        .remote(rollout.traces)
    )


def _here() -> NodeAffinitySchedulingStrategy:
    """On this process's node, where the run's folder surely is."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _ledger(rollout: Rollout, workers: Sequence[Any], writer: Any) -> Any:
    cluster = rollout.cluster
    setup = LedgerSetup(
        specs=rollout.specs,
        run_id=uuid.uuid4().hex[:8],
        episodes_per_worker=cluster.episodes_per_worker,
        episodes_per_part=_EPISODES_PER_PART,
        timeout_s=cluster.stall_timeout_s,
        max_attempts=cluster.max_attempts,
    )
    return (
        ray.remote(LedgerActor)
        .options(name=f"{rollout.name}/ledger", num_cpus=0)
        .remote(setup, workers, writer)
    )


def _training_ledger(rollout: Rollout, what: Training) -> Any:
    cluster = rollout.cluster
    setup = TrainingSetup(
        groups=what.groups,
        evaluation_seeds=what.evaluation_seeds,
        turn_version=rollout.setup.turn_version,
        traces=rollout.traces,
        episodes_per_worker=cluster.episodes_per_worker,
        timeout_s=cluster.stall_timeout_s,
        max_attempts=cluster.max_attempts,
    )
    return (
        ray.remote(TrainingLedger)
        .options(
            name=f"{rollout.name}/ledger",
            num_cpus=0,
            max_restarts=cluster.max_restarts,
            max_task_retries=-1,
            scheduling_strategy=_here(),
        )
        .remote(setup, what.judge, what.read_snapshot, partial(_find_crew, rollout))
    )


def _find_crew(rollout: Rollout) -> tuple[list[Any], Any]:
    """From anywhere in the run: the workers that are not gone for good, and the writer.

    Raises:
        RunError: all are gone, or the writer is.
    """
    workers = []
    for index in range(rollout.cluster.num_workers):
        with suppress(ValueError):
            workers.append(ray.get_actor(_worker_name(rollout, index)))
    if not workers:
        raise RunError("no rollout worker is left: all have died too often")
    try:
        return workers, ray.get_actor(_writer_name(rollout))
    except ValueError:
        raise RunError("the trace writer is gone") from None


def _watch(ledger: Any) -> Iterator[Any]:
    running = ledger.run.remote()
    while True:
        ended, _ = ray.wait([running], timeout=_TICK_S)
        try:
            progress = ray.get(ledger.progress.remote())
            if ended:
                ray.get(running)
        except RayTaskError as error:
            raise own_cause(error) from None
        except RayError as error:
            raise RunError(f"the ledger died: {root_cause(error)}") from None
        yield progress
        if ended:
            return
