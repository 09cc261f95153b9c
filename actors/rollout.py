"""Play a list of episodes on the cluster: workers, ledger and writer, started and cleared away."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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


def roll_out(rollout: Rollout) -> Iterator[Progress]:
    """Play everything; yields news about twice a second, the last one settled.

    Raises:
        PickaxeError: the run can't go on; what was written stays, and can be continued.
    """
    actors: list[Any] = []
    try:
        workers = [_worker(rollout, index) for index in range(rollout.cluster.num_workers)]
        actors += workers
        writer = _writer(rollout)
        actors.append(writer)
        ledger = _ledger(rollout, workers, writer)
        actors.append(ledger)
        wait_until_ready(workers, "rollout worker", rollout.cluster.start_timeout_s)
        yield from _watch(ledger)
    finally:
        for actor in actors:
            ray.kill(actor)


def _worker(rollout: Rollout, index: int) -> Any:
    cluster = rollout.cluster
    return (
        ray.remote(RolloutWorker)
        .options(
            name=f"{rollout.name}/worker-{index}",
            num_cpus=cluster.worker_cpus,
            max_restarts=cluster.max_restarts,
            max_concurrency=cluster.episodes_per_worker + 8,
        )
        .remote(replace(rollout.setup, index=index))
    )


def _writer(rollout: Rollout) -> Any:
    """On this process's node, where the run's folder surely is."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return (
        ray.remote(TraceWriter)
        .options(
            name=f"{rollout.name}/trace-writer",
            num_cpus=0,
            max_restarts=rollout.cluster.max_restarts,
            scheduling_strategy=here,
        )
        .remote(rollout.traces)
    )


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


def _watch(ledger: Any) -> Iterator[Progress]:
    running = ledger.run.remote()
    while True:
        ended, _ = ray.wait([running], timeout=_TICK_S)
        try:
            progress: Progress = ray.get(ledger.progress.remote())
            if ended:
                ray.get(running)
        except RayTaskError as error:
            raise own_cause(error) from None
        except RayError as error:
            raise RunError(f"the ledger died: {root_cause(error)}") from None
        yield progress
        if ended:
            return
