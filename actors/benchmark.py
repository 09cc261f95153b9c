"""Stand-ins for benchmarks: worlds that cost nothing or too much, a replica that replays bare."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actors.adapter_folder import adapter_folder
from actors.engine_requests import scores, scoring
from actors.game import QUIET, Game, Step
from actors.replica import Replica
from cluster.canary import Canary
from cluster.types import Completion, GenerationRequest, Observation
from configs.play import EnvConfig

SLOW_STEP_S: Final = 0.05

Answer = tuple[float, int]


class NullWorld:
    """One recorded moment for ever; the pictures differ, so that no cache can answer for them."""

    def __init__(self, config: EnvConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._num_steps = 0

    def step(self, action: str) -> Step:
        self._num_steps += 1
        return QUIET

    def observe(self) -> Observation:
        return _moment(self._config)[0]

    def draw(self, size: int) -> NDArray[np.uint8]:
        frame = _moment(self._config, size)[1].copy()
        mark = self._num_steps + 1000 * self._seed
        frame[0, 0] = (mark & 255, mark >> 8 & 255, mark >> 16 & 255)
        return frame


@lru_cache(maxsize=4)
def _moment(config: EnvConfig, size: int = 72) -> tuple[Observation, NDArray[np.uint8]]:
    game = Game(config, seed=0)
    return game.observe(), game.draw(size)


class SlowWorld(Game):
    """The game, with a sleep in every step."""

    def step(self, action: str) -> Step:
        time.sleep(SLOW_STEP_S)
        return super().step(action)


class ReplayReplica(Replica):
    """A replica that notes when it answered, and can time its bare engine."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._answers: list[Answer] = []

    async def forget(self) -> None:
        """Empty the caches and the notes, so that no run is answered by the one before."""
        self._answers = []
        llm = self._engine.bare
        await llm.reset_prefix_cache()
        await llm.reset_mm_cache()
        await llm.reset_encoder_cache()

    async def answers(self) -> list[Answer]:
        """(seconds on this process's clock, tokens) of each answer since `forget`."""
        return self._answers

    async def generate(self, request: GenerationRequest) -> Completion:
        completion = await super().generate(request)
        self._answers.append((time.perf_counter(), completion.num_completion_tokens))
        return completion

    async def replay(self, requests: Sequence[GenerationRequest], num_lanes: int) -> list[Answer]:
        """Run requests through the engine alone, `num_lanes` at a time.

        Prompts are rendered and pictures decoded beforehand. Returns what `answers` would.
        """
        prepared = [self._engine.prepare(request) for request in requests]
        await self.forget()
        lanes = [prepared[lane::num_lanes] for lane in range(num_lanes)]
        await asyncio.gather(*(self._lane(lane, str(n)) for n, lane in enumerate(lanes)))
        return self._answers

    async def bare_switch(self, number: int, files: Mapping[str, bytes], canary: Canary) -> float:
        """Seconds that the engine alone takes for an adapter and its canary, all else prepared.

        `number` is a version's that is never published.
        """
        from vllm.lora.request import LoRARequest

        tokens = tuple(canary.logprobs)
        prompt = self._engine.prepare(canary.request, canary.answer_prefix)[0]
        with adapter_folder(files) as folder:
            adapter = LoRARequest(f"bare-{number}", number, folder)
            began = time.perf_counter()
            await self._engine.bare.add_lora(adapter)
            name = f"bare-{number}"
            asked = (prompt, scoring(tokens), name)
            async for output in self._engine.bare.generate(*asked, lora_request=adapter):
                scores(output, tokens)
            seconds = time.perf_counter() - began
        await self._engine.bare.remove_lora(number)
        return seconds

    async def _lane(self, lane: Sequence[Any], name: str) -> None:
        for index, (prompt, sampling) in enumerate(lane):
            request_id = f"replay-{name}-{index}-{time.monotonic_ns()}"
            async for output in self._engine.bare.generate(prompt, sampling, request_id):
                num_tokens = len(output.outputs[0].token_ids)
            self._answers.append((time.perf_counter(), num_tokens))
