"""The rollout worker on a real Ray, with a player that needs no model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayError

from actors.seat import seat
from actors.worker import RolloutWorker
from cluster.credit import credit_of
from cluster.types import EpisodeSpec
from configs.jobs import PlayedRun
from configs.play import EnvConfig, PlayConfig
from configs.player import RandomPlayer
from tests.running import wait_for

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    run = PlayedRun(
        output=str(Path(tmp_path_factory.mktemp("run"))),
        seeds=(0,),
        env=EnvConfig(length=10_000),
        play=PlayConfig(max_turns=10_000),
    )
    ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    setup = seat(RandomPlayer(kind="random"), run, version=0)
    yield ray.remote(RolloutWorker).options(num_cpus=0, max_concurrency=8).remote(setup)
    ray.shutdown()


def test_an_episode_is_told_with_its_credit(worker: Any) -> None:
    spec = EpisodeSpec(seed=3)
    played_ref, trajectory_ref = worker.play.options(num_returns=2).remote(spec, 2)
    played, trajectory = ray.get([played_ref, trajectory_ref])
    assert played.summary == trajectory.summary()
    assert played.credit == credit_of(trajectory)


def test_a_worker_remembers_the_versions_it_was_told_of(worker: Any) -> None:
    ray.get(worker.serve.remote(7))
    ray.get(worker.serve.remote(4))
    assert ray.get(worker.take_over.remote()) == 7


def test_what_was_played_for_a_ledger_that_is_no_more_is_given_up(worker: Any) -> None:
    specs = [EpisodeSpec(seed=3, sample=sample) for sample in range(1, 4)]
    calls = [worker.play.options(num_returns=2).remote(spec, 1)[0] for spec in specs]
    wait_for(lambda: len(ray.get(worker.turns.remote())) == len(specs))
    ray.get(worker.take_over.remote())
    for call in calls:
        with pytest.raises(RayError):
            ray.get(call, timeout=30)
    assert ray.get(worker.turns.remote()) == {}
    again = worker.play.options(num_returns=2).remote(specs[0], 1)[0]
    assert ray.get(again).summary.spec == specs[0]
