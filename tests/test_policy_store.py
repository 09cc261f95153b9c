"""The store and the replicas of a pool, on a real Ray: published, proved, hung, killed, retired."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest
import ray
from ray.exceptions import RayTaskError

from actors.replica_pool import ReplicaPool
from actors.router import Router
from cluster.errors import FatalPolicyError, RunError
from cluster.types import Completion
from configs.player import EngineConfig
from tests.light_replica import (
    CANARY,
    CONFIG,
    DIE,
    HANG,
    REFUSED,
    REQUEST,
    SPOILT,
    LightReplica,
    adapter,
)
from tests.running import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ALONE = CONFIG.model_copy(update={"num_replicas": 1})


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def pool(request: pytest.FixtureRequest) -> Iterator[Callable[..., ReplicaPool]]:
    """Makes a pool of stand-ins that is ready; its last one is stopped after the test."""
    started: list[ReplicaPool] = []

    def start(
        engine: EngineConfig = CONFIG, max_restarts: int = 3, model: str = "0"
    ) -> ReplicaPool:
        name = request.node.name
        made = ReplicaPool(name, model, engine, max_restarts, LightReplica)
        started.append(made.__enter__())
        made.wait_until_ready(60.0)
        return made

    yield start
    for made in started:
        made.stop()


def publish(pool: ReplicaPool, version: int, files: dict[str, bytes]) -> None:
    try:
        ray.get(pool.store.publish.remote(version, files, CANARY), timeout=60)
    except RayTaskError as error:
        raise error.cause from None


def versions(pool: ReplicaPool) -> list[tuple[int, ...]]:
    return [state.versions for state in ray.get([h.ready.remote() for h in pool.handles])]


def pids(pool: ReplicaPool) -> list[int]:
    return [state.pid for state in ray.get([h.ready.remote() for h in pool.handles])]


async def ask(
    pool: ReplicaPool, version: int, text: str = "", patience_s: float = 60.0
) -> Completion:
    router = Router([ray.get_actor(name) for name in pool.names], 0, patience_s)
    return await router(replace(REQUEST, version=version, text=text))


def test_a_published_version_is_served_by_all(pool: Callable[..., ReplicaPool]) -> None:
    made = pool()
    publish(made, 1, adapter("one"))
    assert versions(made) == [(0, 1), (0, 1)]


def test_published_again_nothing_happens(pool: Callable[..., ReplicaPool]) -> None:
    """The stand-in refuses to load a version twice."""
    made = pool()
    publish(made, 1, adapter("one"))
    publish(made, 1, adapter("one"))
    assert versions(made) == [(0, 1), (0, 1)]


def test_a_number_stays_one_adapters(pool: Callable[..., ReplicaPool]) -> None:
    made = pool()
    publish(made, 1, adapter("one"))
    with pytest.raises(RunError, match="version 1 is another adapter's"):
        publish(made, 1, adapter("two"))


def test_a_failed_proof_is_told(pool: Callable[..., ReplicaPool]) -> None:
    made = pool()
    with pytest.raises(RunError, match="version 1 is not served: not what the learner has"):
        publish(made, 1, REFUSED)
    assert ray.get(made.store.policy.remote(1)) is None


@pytest.mark.parametrize("files", [HANG, DIE])
def test_a_replica_that_is_lost_while_loading_fetches_the_version_later(
    pool: Callable[..., ReplicaPool], files: dict[str, bytes]
) -> None:
    made = pool()
    first, second = pids(made)
    publish(made, 1, files)
    assert ray.get(made.handles[1].ready.remote()).versions == (0, 1)
    content = files["adapter"].decode()
    answers = [wait_for(lambda h=handle: answer_of(h, 1)) for handle in made.handles]
    assert [answer.text for answer in answers] == [
        f"{pids(made)[0]} {content} True",
        f"{second} {content} True",
    ]
    assert pids(made)[0] != first


def answer_of(handle: Any, version: int) -> Completion | None:
    """None while the replica is being restarted."""
    try:
        answer: Completion = ray.get(handle.generate.remote(replace(REQUEST, version=version)))
    except ray.exceptions.ActorUnavailableError:
        return None
    return answer


@pytest.mark.parametrize("files", [HANG, DIE])
def test_where_all_are_being_restarted_the_store_waits_for_one(
    pool: Callable[..., ReplicaPool], files: dict[str, bytes]
) -> None:
    made = pool(ALONE)
    (before,) = pids(made)
    publish(made, 1, files)
    assert versions(made) == [(0, 1)]
    assert pids(made) != [before]


def test_where_none_is_left_that_is_told(pool: Callable[..., ReplicaPool]) -> None:
    made = pool(ALONE, max_restarts=0)
    with pytest.raises(RunError, match="no replica is left to serve version 1"):
        publish(made, 1, DIE)


def test_what_is_old_and_not_in_use_is_retired(pool: Callable[..., ReplicaPool]) -> None:
    made = pool()
    for version in (1, 2, 3, 4):
        publish(made, version, adapter(str(version)))
    ray.get(made.store.retire.remote([2]))
    wait_for(lambda: versions(made) == [(0, 2, 4), (0, 2, 4)])
    kept = [ray.get(made.store.policy.remote(version)) is not None for version in (1, 2, 3, 4)]
    assert kept == [False, True, False, True]


def test_the_newest_is_kept_though_nothing_uses_it(pool: Callable[..., ReplicaPool]) -> None:
    made = pool()
    publish(made, 1, adapter("one"))
    ray.get(made.store.retire.remote([]))
    assert versions(made) == [(0, 1), (0, 1)]


def test_a_retired_version_may_come_back(pool: Callable[..., ReplicaPool]) -> None:
    made = pool()
    for version in (1, 2):
        publish(made, version, adapter(str(version)))
    ray.get(made.store.retire.remote([]))
    wait_for(lambda: versions(made) == [(0, 2), (0, 2)])
    publish(made, 1, adapter("1"))
    assert versions(made) == [(0, 1, 2), (0, 1, 2)]


async def test_a_killed_replica_proves_its_versions_again(
    pool: Callable[..., ReplicaPool],
) -> None:
    made = pool(ALONE)
    for version in (1, 2):
        publish(made, version, adapter(str(version)))
    (before,) = pids(made)
    os.kill(before, signal.SIGKILL)
    answers = [await ask(made, version) for version in (2, 1)]
    (after,) = pids(made)
    assert [answer.text for answer in answers] == [f"{after} 2 True", f"{after} 1 True"]


async def test_a_request_to_a_replica_that_hangs_is_answered_by_another(
    pool: Callable[..., ReplicaPool],
) -> None:
    made = pool()
    first, second = pids(made)
    answer = await ask(made, 0, f"stop {first}")
    assert answer.text == f"{second} base False"
    wait_for(lambda: not psutil.pid_exists(first))
    wait_for(lambda: pids_or_none(made) not in (None, [first, second]))


def pids_or_none(pool: ReplicaPool) -> list[int] | None:
    try:
        return pids(pool)
    except ray.exceptions.ActorUnavailableError:
        return None


async def test_a_request_to_a_lone_replica_that_hangs_waits_for_it(
    pool: Callable[..., ReplicaPool],
) -> None:
    made = pool(ALONE)
    publish(made, 1, adapter("one"))
    (before,) = pids(made)
    answer = await ask(made, 1, f"stop {before}")
    (after,) = pids(made)
    assert answer.text == f"{after} one True"
    assert after != before


async def test_one_that_hangs_for_ever_ends_the_run(pool: Callable[..., ReplicaPool]) -> None:
    made = pool(ALONE, max_restarts=1)
    with pytest.raises(FatalPolicyError, match="every replica is gone"):
        await ask(made, 0, "stop", patience_s=240.0)


async def test_one_that_hangs_before_its_first_answer_is_killed() -> None:
    with ReplicaPool("hangs-early", "0", ALONE, 1, LightReplica) as made:
        (before,) = pids(made)
        os.kill(before, signal.SIGSTOP)
        wait_for(lambda: psutil.Process(before).status() == psutil.STATUS_STOPPED)
        made.store.watch.remote()
        answer = await ask(made, 0)
    assert answer.text.endswith(" base False")
    assert not answer.text.startswith(str(before))


async def test_one_that_starts_slowly_is_left_alone(pool: Callable[..., ReplicaPool]) -> None:
    """Its start takes twice the time after which silence is a fault; once more and it is gone."""
    made = pool(ALONE, max_restarts=1, model="8")
    (before,) = pids(made)
    os.kill(before, signal.SIGKILL)
    answer = await ask(made, 0)
    assert answer.text.endswith(" base False")
    assert not answer.text.startswith(str(before))


async def test_a_version_that_fails_its_proof_after_a_restart_ends_the_run(
    pool: Callable[..., ReplicaPool],
) -> None:
    made = pool(ALONE)
    publish(made, 1, SPOILT)
    os.kill(*pids(made), signal.SIGKILL)
    with pytest.raises(FatalPolicyError, match="version 1 can't be had again: not what the lear"):
        await ask(made, 1)
