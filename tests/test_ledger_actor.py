"""The ledger on a real Ray, with workers that dawdle, die and are refused."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.rollout import _watch
from cluster.credit import Played, credit_of
from cluster.errors import FatalPolicyError, RunError
from cluster.ledger_actor import LedgerActor, LedgerSetup, Progress
from cluster.trace_writer import TraceWriter
from cluster.traces import read_summaries
from cluster.types import EpisodeSpec, Trajectory
from tests.builders import trajectory

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


class Stand:
    """A worker whose play is a hand-made trajectory; `seconds` by seed, else at once."""

    def __init__(self, seconds: dict[int, float], refuses: bool = False) -> None:
        self.seconds = seconds
        self.refuses = refuses

    def turns(self) -> dict[str, int]:
        return {}

    def play(self, spec: EpisodeSpec) -> tuple[Played, Trajectory]:
        if self.refuses:
            raise FatalPolicyError("key refused")
        time.sleep(self.seconds.get(spec.seed, 0.0))
        played = trajectory(spec=spec)
        return Played(played.summary(), credit_of(played)), played


class BrokenWriter:
    def write(self, name: str, *trajectories: Trajectory) -> None:
        raise RunError("can't write traces: No space left on device")


def start(
    workers: list[Any], traces: Path, timeout_s: float = 60.0, writer: Any = None
) -> Iterator[Progress]:
    setup = LedgerSetup(
        specs=tuple(EpisodeSpec(seed=seed) for seed in range(6)),
        run_id="test",
        episodes_per_worker=2,
        episodes_per_part=4,
        timeout_s=timeout_s,
        max_attempts=3,
    )
    writer = writer or ray.remote(TraceWriter).options(num_cpus=0).remote(traces)
    return _watch(ray.remote(LedgerActor).options(num_cpus=0).remote(setup, workers, writer))


def worker(*args: Any, max_restarts: int = 0) -> Any:
    options = {"num_cpus": 0, "max_concurrency": 4, "max_restarts": max_restarts}
    return ray.remote(Stand).options(**options).remote(*args)


def stored(traces: Path) -> list[int]:
    return [summary.spec.seed for summary in read_summaries(traces).summaries]


def test_every_episode_is_played_and_written_once(tmp_path: Path) -> None:
    news = list(start([worker({}), worker({})], tmp_path))
    assert news[-1].counts["finished"] == 6
    assert sum(len(progress.summaries) for progress in news) == 6
    assert stored(tmp_path) == list(range(6))


def test_a_slow_workers_episode_is_played_by_another(tmp_path: Path) -> None:
    # The first worker takes seed 0 slowly; after three seconds the other gets it too.
    workers = [worker({0: 60.0}, max_restarts=3), worker({}, max_restarts=3)]
    ray.get([worker.turns.remote() for worker in workers])
    news = list(start(workers, tmp_path, timeout_s=3.0))
    assert stored(tmp_path) == list(range(6))
    assert news[-1].num_replayed >= 1
    assert news[-1].counts["finished"] == 6


def test_a_worker_that_hangs_is_restarted(tmp_path: Path) -> None:
    # Alone, with nobody to take over: once nothing but seed 0 is left it is killed, and seed 0 is
    # played again, each time in vain, until it is dropped with its reasons.
    news = list(start([worker({0: 600.0}, max_restarts=9)], tmp_path, timeout_s=1.0))
    (reasons,) = news[-1].dropped.values()
    assert "no decision for 1 s" in reasons
    assert "its worker died" in reasons
    assert stored(tmp_path) == [1, 2, 3, 4, 5]


def test_when_every_worker_is_gone_the_run_fails(tmp_path: Path) -> None:
    gone = worker({})
    ray.get(gone.play.remote(EpisodeSpec(seed=9)))
    ray.kill(gone)
    with pytest.raises(RunError, match="every rollout worker is gone"):
        list(start([gone], tmp_path))


def test_a_fatal_refusal_ends_the_run_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(FatalPolicyError, match=r"^key refused$"):
        list(start([worker({}, True)], tmp_path))


def test_a_full_disk_ends_the_run_with_its_cause(tmp_path: Path) -> None:
    writer = ray.remote(BrokenWriter).options(num_cpus=0).remote()
    with pytest.raises(RunError, match="No space left"):
        list(start([worker({})], tmp_path, writer=writer))
