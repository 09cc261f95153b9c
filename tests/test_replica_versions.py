"""A replica with the real vLLM that is killed, or hangs: its versions come back, proved."""

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import ray

from actors.replica import ReplicaState
from actors.replica_pool import ReplicaPool
from actors.router import Router
from cluster.types import Completion, GenerationRequest
from configs.player import EngineConfig, ServingLora
from tests.policies import random_policies
from tests.running import engine_processes, wait_for
from tests.sft_rows import MODEL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vision,
    pytest.mark.integration,
    pytest.mark.usefixtures("one_thread"),
]

CONFIG = EngineConfig(
    lora=ServingLora(max_rank=16, max_versions=3),
    kv_cache_gib=0.25,
    # As short as a busy machine allows: an engine's first answer takes seconds.
    silence_timeout_s=20.0,
)


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[GenerationRequest]]:
    """Of versions 1 and 2 in turn, which a pool of one replica serves meanwhile."""
    policies = random_policies(tmp_path_factory.mktemp("policies"), 2)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    model = str(Path(MODEL).absolute())
    with ReplicaPool("versions", model, CONFIG, max_restarts=4) as pool:
        pool.wait_until_ready(300)
        for version, (files, canary) in enumerate(policies, start=1):
            ray.get(pool.store.publish.remote(version, files, canary))
        asked = policies[0][1].request
        yield [
            replace(asked, version=1 + seed % 2, seed=seed, max_tokens=100) for seed in range(16)
        ]
    ray.shutdown()


@pytest.fixture(scope="module")
def expected(requests: list[GenerationRequest]) -> list[Completion]:
    """What the replica answers in peace."""
    return asyncio.run(answers(requests))


def state() -> ReplicaState:
    told: ReplicaState = ray.get(ray.get_actor("versions/replica-0").ready.remote())
    return told


async def answers(requests: list[GenerationRequest]) -> list[Completion]:
    router = Router([ray.get_actor("versions/replica-0")], first=0, patience_s=300.0)
    return await asyncio.gather(*map(router, requests))


@pytest.mark.parametrize(("victim", "how"), [("actor", signal.SIGKILL), ("engine", signal.SIGSTOP)])
async def test_requests_are_answered_by_their_versions_in_the_end(
    requests: list[GenerationRequest],
    expected: list[Completion],
    victim: str,
    how: signal.Signals,
) -> None:
    before = state()
    actor, (engine,) = psutil.Process(before.pid), engine_processes(before.pid)
    answering = asyncio.create_task(answers(requests))
    await asyncio.to_thread(wait_for, lambda: state().num_in_flight == len(requests))
    (actor if victim == "actor" else engine).send_signal(how)
    after = await answering
    assert [told.version for told in after] == [asked.version for asked in requests]
    assert [told.token_ids for told in after] == [told.token_ids for told in expected]
    assert state().pid != before.pid
    assert state().versions == (0, 1, 2)
    await asyncio.to_thread(wait_for, lambda: not (actor.is_running() or engine.is_running()))
