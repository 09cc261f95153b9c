"""A replica that waits as long as one of vLLM took, and costs nothing. For benchmarks of what is
around it: its actor, its store of versions and its players are the real ones."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Final

from actors.engine import Engine
from actors.replica import Replica
from actors.tool import render_call
from cluster.adapter_files import digest
from cluster.canary import Canary
from cluster.credit import Credit
from cluster.errors import PolicyError
from cluster.names import ACTIONS
from cluster.types import Completion, GenerationRequest
from configs.player import EngineConfig

_ANSWER_S: Final = (0.358, 0.476, 0.536, 0.575, 0.604, 0.635, 0.688, 0.752, 0.830, 0.976)
"""Recorded in a run of configs/ci/rl.toml, 16 requests in flight, on two cores that its learner
shared: the middle of each tenth of 2,080 answers."""
_PROMPT: Final = tuple(range(180))
_ANSWER: Final = tuple(range(6))
"""As many tokens as recorded; nobody reads which."""


def answer_s(seed: int) -> float:
    """How long a request with this seed takes, seconds."""
    return random.Random(seed).choice(_ANSWER_S)


def keep_all(group: Sequence[Credit]) -> str:
    """Every group is worth training on: none is played in another's place."""
    return ""


class SimulatedEngine(Engine):
    """Sleeps through each request, however many there are, and answers with a random action."""

    def __init__(self, model: str, config: EngineConfig) -> None:
        self._digests: dict[int, str] = {}
        self._num_in_flight = 0
        self._busy_s = 0.0
        self._busy_since = 0.0

    @property
    def versions(self) -> tuple[int, ...]:
        return (0, *sorted(self._digests))

    @property
    def num_in_flight(self) -> int:
        return self._num_in_flight

    @property
    def is_dead(self) -> bool:
        return False

    @property
    def busy_s(self) -> float:
        """How long there was at least one request to answer."""
        under_way = time.monotonic() - self._busy_since if self._num_in_flight else 0.0
        return self._busy_s + under_way

    async def ping(self) -> None:
        pass

    async def generate(self, request: GenerationRequest, request_id: str) -> Completion:
        if request.version not in self.versions:
            raise PolicyError(f"version {request.version} is not among {self.versions}")
        if not self._num_in_flight:
            self._busy_since = time.monotonic()
        self._num_in_flight += 1
        try:
            await asyncio.sleep(answer_s(request.seed))
        finally:
            self._num_in_flight -= 1
            if not self._num_in_flight:
                self._busy_s += time.monotonic() - self._busy_since
        return Completion(
            text=render_call([ACTIONS[request.seed % len(ACTIONS)]]),
            prompt_ids=_PROMPT,
            token_ids=_ANSWER,
            logprobs=(-1.0,) * len(_ANSWER),
            temperature=request.temperature,
            version=request.version,
            num_prompt_tokens=len(_PROMPT),
            num_completion_tokens=len(_ANSWER),
        )

    async def load(
        self, version: int, files: Mapping[str, bytes], canary: Canary | None = None
    ) -> str:
        """Believes its canary."""
        self._digests[version] = digest(files)
        return self._digests[version]

    async def unload(self, version: int) -> None:
        del self._digests[version]


class SimulatedReplica(Replica):
    """The actor, with that engine."""

    engine_class = SimulatedEngine
    _engine: SimulatedEngine

    async def busy_s(self) -> float:
        """How long there was at least one request to answer, since it began."""
        return self._engine.busy_s
