"""A replica as a Ray actor: what it answers, and that nothing of it outlives it."""

import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from PIL import Image
from ray.exceptions import RayActorError, RayTaskError

from actors.prompt import render
from actors.replica import Replica, ReplicaState, cores_of
from cluster.errors import PolicyError
from cluster.types import GenerationRequest
from configs.play import PromptConfig
from configs.player import EngineConfig
from learners.tiny_corpus import observation
from tests.running import engine_processes

pytestmark = [pytest.mark.slow, pytest.mark.vision, pytest.mark.integration]

MODEL = str(Path("configs/models/tiny").absolute())


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def replica(cluster: None) -> Iterator[tuple[Any, ReplicaState]]:
    """A started replica, in a cluster of its own module."""
    config = EngineConfig(kv_cache_gib=0.25)
    actor = ray.remote(Replica).options(max_concurrency=1000).remote(MODEL, config, 0)
    yield actor, ray.get(actor.ready.remote(), timeout=300)
    ray.kill(actor)


def request(seed: int, **changes: Any) -> GenerationRequest:
    rng = np.random.default_rng(seed)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (72, 72, 3), dtype=np.uint8)).save(file, "PNG")
    prompt = render(observation(rng), file.getvalue(), (), PromptConfig(image_only=True))
    fields: dict[str, Any] = {
        "system": prompt.system,
        "text": prompt.text,
        "images": prompt.images,
        "max_actions": 5,
        "temperature": 1.0,
        "top_p": 1.0,
        "max_tokens": 8,
        "seed": seed,
        "version": 0,
    }
    return GenerationRequest(**{**fields, **changes})


def wait_for(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_replica_answers_says_who_it_is_and_dies_with_its_engine(
    replica: tuple[Any, ReplicaState],
) -> None:
    """One start for what needs a living replica first, and an idle one last."""
    actor, state = replica
    answers = ray.get([actor.generate.remote(request(seed)) for seed in range(8)])
    assert {answer.replica for answer in answers} == {state.name}
    assert all(answer.num_completion_tokens == len(answer.token_ids) > 0 for answer in answers)
    assert state.versions == (0,)
    assert state.node_id == ray.get_runtime_context().get_node_id()
    assert ray.get(actor.ready.remote()).num_in_flight == 0
    with pytest.raises(RayTaskError) as caught:
        ray.get(actor.generate.remote(request(0, version=7)))
    assert isinstance(caught.value.cause, PolicyError)

    for engine in engine_processes(state.pid):
        engine.send_signal(signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(state.pid))
    with pytest.raises(RayActorError):
        ray.get(actor.generate.remote(request(0)), timeout=30)


def test_replicas_of_a_node_have_cores_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5, 7})
    assert [cores_of(slot, 2) for slot in (0, 1)] == [[2, 3], [5, 7]]
    assert cores_of(2, 2) == [2, 3]
