"""A replica without vLLM: the actor is Pickaxe's own, its engine a stand-in that tells who asks.

It is steered by what it is given: an adapter's files say how loading goes, a request's text how
answering goes.
"""

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from typing import NoReturn

import ray

from actors.engine import Engine
from actors.replica import Replica
from cluster.adapter_files import digest
from cluster.canary import Canary
from cluster.errors import PolicyError, RunError
from cluster.types import Completion, GenerationRequest
from configs.player import EngineConfig, ServingLora

HANG = {"adapter": b"hang"}
DIE = {"adapter": b"die"}
REFUSED = {"adapter": b"not what the learner has"}
SPOILT = {"adapter": b"not what it was, after a restart"}
CONFIG = EngineConfig(
    num_replicas=2, silence_timeout_s=4.0, lora=ServingLora(max_rank=16, max_versions=4)
)
REQUEST = GenerationRequest(
    system="",
    text="",
    images=(),
    max_actions=1,
    temperature=1.0,
    top_p=1.0,
    max_tokens=1,
    seed=0,
    version=0,
)
CANARY = Canary(request=REQUEST, answer_prefix="", logprobs={1: -0.5}, tolerance=1e-4)


def adapter(name: str) -> dict[str, bytes]:
    """Files that any replica loads."""
    return {"adapter": name.encode()}


class StandIn(Engine):
    """Answers with its process's id and the content of the version's adapter."""

    def __init__(self, model: str, config: EngineConfig) -> None:
        assert config.lora is not None
        time.sleep(float(model or 0))
        self._files: dict[int, bytes] = {}
        self._canaries: dict[int, Canary | None] = {}
        self._max_versions = config.lora.max_versions

    @property
    def versions(self) -> tuple[int, ...]:
        return (0, *sorted(self._files))

    @property
    def num_in_flight(self) -> int:
        return 0

    @property
    def is_dead(self) -> bool:
        return False

    async def ping(self) -> None:
        pass

    async def generate(self, request: GenerationRequest, request_id: str) -> Completion:
        if request.version not in self.versions:
            raise PolicyError(f"version {request.version} is not among {self.versions}")
        if request.text == "stop" or request.text == f"stop {os.getpid()}":
            hang()
        await asyncio.sleep(0)
        content = self._files.get(request.version, b"base").decode()
        proved = self._canaries.get(request.version) is not None
        return Completion(text=f"{os.getpid()} {content} {proved}", version=request.version)

    async def load(
        self, version: int, files: Mapping[str, bytes], canary: Canary | None = None
    ) -> str:
        assert set(files) == {"adapter"}
        assert version not in self._files, "the store loads a version once"
        assert len(self._files) < self._max_versions
        first = is_first_of_its_name()
        if files == HANG and first:
            hang()
        if files == DIE and first:
            os._exit(1)
        if files == REFUSED or (files == SPOILT and was_restarted()):
            raise RunError("not what the learner has")
        self._files[version] = files["adapter"]
        self._canaries[version] = canary
        return digest(files)

    async def unload(self, version: int) -> None:
        del self._files[version], self._canaries[version]


def hang() -> NoReturn:
    """Stop this process. This thread may run on for a moment: another takes the signal."""
    os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        time.sleep(1.0)


def was_restarted() -> bool:
    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def is_first_of_its_name() -> bool:
    """The first replica of a pool, before it was ever restarted."""
    name = str(ray.get_runtime_context().get_actor_name())
    return name.endswith("replica-0") and not was_restarted()


class LightReplica(Replica):
    engine_class = StandIn
