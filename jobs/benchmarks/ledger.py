"""The ledger of training at the size of a cluster, with simulated devices on this machine.

1,000 environments in 4 worker processes ask 64 simulated replicas, which answer in 0.8 s (1,250
decisions/s, if nobody waited for anything else); 16 simulated ranks share a process. The ledger,
its traces and the episodes' content are real: 16 to 31 decisions with 288-pixel frames.

decisions_per_s: decisions of a step over the time since the batch of the step before was complete.
p99_ms: round trips of calls that have nothing to wait for: `progress`, asked by this process every
20 ms; `batch` by every rank once more when it has its share; `committed`, `serve`, `evaluations`.
decisions_per_cpu_s: decisions of these steps over the CPU time of the ledger's process meanwhile.
data_plane_ratio: 64 episodes of 64 decisions are played and wait in one worker. From their release
to when a rank has got them all through the ledger, over the time in which the same worker puts as
many and the same rank gets them, in turns.
wire_ratio: bytes sent to the ranks, pickled as Ray does it, shares included, over the PNG bytes of
the frames among them. The writer is sent the same without the shares, the ledger `ledger_ratio`.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from jobs.benchmarks import median_of
from jobs.benchmarks.episodes import episodes

if TYPE_CHECKING:
    import psutil

    from cluster.simulated import Step

ROWS: Final = {
    "decisions_per_s": "trained on, 1,000 environments, 64 replicas, 16 ranks",
    "decisions_per_cpu_s": "to a second of the ledger's CPU time: what it can do on a core",
    "p99_ms": "of a call of the ledger meanwhile",
    "p50_ms": "of the same calls",
    "data_plane_ratio": "an episode from worker to rank, over a plain put and get of it",
    "wire_ratio": "bytes sent to ranks over their frames' PNG bytes, 288 pixels",
    "wire_ratio_72": "the same, 72 pixels",
    "ledger_ratio": "bytes sent to the ledger over the frames' PNG bytes, 288 pixels",
}

_LEARN_S: Final = 0.5
"""What a step takes the ranks."""
_WARM_UP: Final = 2
"""Steps of the cluster that are not counted; of the pair the first one is not."""
_PROBE_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of a simulated cluster, and of the run on it."""

    num_workers: int
    places: int
    """Episodes at once, in each worker."""
    num_replicas: int
    """In each worker."""
    answer_s: float
    """Time of an answer; 0: none is waited for, and episodes wait to be released."""
    num_turns: tuple[int, ...]
    """Decisions of the episodes."""
    num_ranks: int
    groups_per_step: int
    group_size: int
    num_steps: int
    max_staleness: int


CLUSTER: Final = Size(
    num_workers=4,
    places=250,
    num_replicas=16,
    answer_s=0.8,
    num_turns=tuple(range(16, 32)),
    num_ranks=16,
    groups_per_step=16,
    group_size=16,
    num_steps=10,
    max_staleness=4,
)
PAIR: Final = Size(
    num_workers=1,
    places=64,
    num_replicas=0,
    answer_s=0.0,
    num_turns=(64,) * 8,
    num_ranks=1,
    groups_per_step=8,
    group_size=8,
    num_steps=8,
    max_staleness=0,
)


def run(cluster: Size = CLUSTER, pair: Size = PAIR) -> dict[str, float]:
    """The figures of `ROWS`; medians with their `_iqr`."""
    from cluster.session import connect
    from configs.jobs import ClusterConfig

    with connect(ClusterConfig(address="local")):
        figures = _at_size(cluster)
        ratios = _data_plane(pair)
        one_step = replace(cluster, num_steps=1, max_staleness=0)
        small = _steps(one_step, frame_size=72).steps[-1]
    figures |= median_of("data_plane_ratio", ratios)
    return figures | {"wire_ratio_72": small.rank_bytes / small.frame_bytes}


def _at_size(size: Size) -> dict[str, float]:
    taken = _steps(size, frame_size=288)
    counted, last = taken.steps[_WARM_UP:], taken.steps[-1]
    rates = [
        step.num_decisions / (step.got_at - before.got_at)
        for before, step in pairwise(taken.steps[_WARM_UP - 1 :])
    ]
    num_decisions = sum(step.num_decisions for step in counted)
    call_s = [*taken.probe_s, *(s for step in counted for s in step.call_s)]
    return median_of("decisions_per_s", rates) | {
        "decisions_per_cpu_s": num_decisions / taken.cpu_s,
        "p99_ms": 1e3 * float(np.percentile(call_s, 99)),
        "p50_ms": 1e3 * float(np.percentile(call_s, 50)),
        "wire_ratio": last.rank_bytes / last.frame_bytes,
        "ledger_ratio": last.ledger_bytes / last.frame_bytes,
    }


@dataclass(slots=True)
class _Taken:
    steps: "list[Step]" = field(default_factory=list)
    probe_s: list[float] = field(default_factory=list)
    """Of steps that are counted."""
    cpu_s: float = 0.0
    """Of the ledger's process, of the same steps."""


def _steps(size: Size, frame_size: int) -> _Taken:
    """A whole run.

    Raises:
        ValueError: the ledger lost or doubled an episode.
    """
    import ray

    taken = _Taken()
    with _running(size, frame_size) as (ledger, ranks, _):
        for step in range(size.num_steps):
            if step == _WARM_UP:
                began_s = _ledger_cpu_s()
            training = ranks.train.remote(step)
            probe_s = _probe(ledger, training)
            taken.steps.append(ray.get(training))
            if step >= _WARM_UP:
                taken.probe_s += probe_s
                taken.cpu_s = _ledger_cpu_s() - began_s
        books = ray.get(ledger.progress.remote()).books
    if (books.step, books.lost, books.doubled) != (size.num_steps, 0, 0):
        raise ValueError(f"the ledger lost or doubled episodes: {books}")
    return taken


def ledger_process() -> "psutil.Process":
    """The one ledger below this process."""
    import psutil

    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # of a zombie too
            if " ".join(child.cmdline()).startswith("ray::TrainingLedger"):
                found.append(child)
    (process,) = found
    return process


def _ledger_cpu_s() -> float:
    """Of the ledger, so far."""
    times = ledger_process().cpu_times()
    return float(times.user + times.system)


def _probe(ledger: Any, training: Any) -> list[float]:
    """Round trips of `progress` until a step is taken, seconds."""
    import ray

    trips = []
    while not ray.wait([training], timeout=_PROBE_S)[0]:
        started = time.perf_counter()
        ray.get(ledger.progress.remote())
        trips.append(time.perf_counter() - started)
    return trips


def _data_plane(size: Size) -> list[float]:
    """Of each repeat: through the ledger over a plain put and get."""
    import ray

    ratios = []
    with _running(size, frame_size=288) as (_, ranks, (worker,)):
        for step in range(size.num_steps):
            while ray.get(worker.waiting.remote()) < size.places:
                time.sleep(0.05)
            put_s, refs = ray.get(worker.put.remote(size.places))
            plain_s = put_s + ray.get(ranks.get.remote(refs))
            del refs
            training = ranks.train.remote(step)
            released_at = ray.get(worker.release.remote())
            ratios.append((ray.get(training).got_at - released_at) / plain_s)
    return ratios[1:]


@contextmanager
def _running(size: Size, frame_size: int) -> Iterator[tuple[Any, Any, Sequence[Any]]]:
    """The ledger, the ranks and the workers, with version 1 being played."""
    import ray

    from cluster.simulated import SimulatedRanks, SimulatedWorker, never
    from cluster.trace_writer import TraceWriter
    from cluster.training.ledger import TrainingLedger

    templates = ray.put(episodes(size.num_turns, frame_size))
    with tempfile.TemporaryDirectory() as folder:
        workers = [
            _actor(SimulatedWorker, templates, size.num_replicas, size.answer_s)
            for _ in range(size.num_workers)
        ]
        writer = _actor(TraceWriter, Path(folder))
        setup = _setup(size, Path(folder))
        ledger = _actor(TrainingLedger, setup, never, lambda: None, lambda: (workers, writer))
        ranks = _actor(SimulatedRanks, ledger, size.num_ranks, _LEARN_S)
        try:
            ray.get([one.ready.remote() for one in (*workers, writer)])
            ledger.run.remote()
            ray.get(ledger.serve.remote(1))
            yield ledger, ranks, workers
        finally:
            for actor in (ranks, ledger, writer, *workers):
                ray.kill(actor)


def _actor(kind: type, *arguments: Any) -> Any:
    import ray

    return ray.remote(kind).options(num_cpus=0).remote(*arguments)


def _setup(size: Size, folder: Path) -> Any:
    from cluster.training.setup import GroupSetup, TrainingSetup

    return TrainingSetup(
        groups=GroupSetup(
            seeds=tuple(range(1000)),
            group_size=size.group_size,
            groups_per_step=size.groups_per_step,
            num_steps=size.num_steps,
            max_staleness=size.max_staleness,
            max_held_bytes=4 * 2**30,
            max_consecutive_drops=1,
        ),
        traces=folder,
        episodes_per_worker=size.places,
        timeout_s=3600.0,
        max_attempts=1,
    )
