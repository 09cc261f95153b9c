"""A player whose answers come from the pool of vLLM replicas."""

import zlib
from collections.abc import Callable
from typing import Protocol

from cluster.types import Completion, EpisodeSpec, GenerationRequest, Prompt
from configs.player import VllmPlayer


class Generate(Protocol):
    """Where answers come from: the router over replicas, or one engine."""

    async def __call__(self, request: GenerationRequest) -> Completion: ...


class VllmPolicy:
    """Turns a prompt into a request; knows nothing of where it is served."""

    def __init__(
        self,
        player: VllmPlayer,
        max_actions: int,
        version: Callable[[], int],
        generate: Generate,
    ) -> None:
        """`version` is asked at every turn which policy version is to answer."""
        self._player = player
        self._max_actions = max_actions
        self._version = version
        self._generate = generate

    async def act(self, prompt: Prompt) -> Completion:
        return await self._generate(
            GenerationRequest(
                system=prompt.system,
                text=prompt.text,
                images=prompt.images,
                max_actions=self._max_actions,
                temperature=self._player.temperature,
                top_p=self._player.top_p,
                max_tokens=self._player.max_tokens,
                seed=sampling_seed(prompt.spec, prompt.turn),
                version=self._version(),
            )
        )


def sampling_seed(spec: EpisodeSpec, turn: int) -> int:
    """31 bits from (episode, turn), the same in every process and on every machine."""
    return zlib.crc32(f"{spec.id}/{turn}".encode()) & 0x7FFFFFFF
