"""An engine by itself, given the requests that a run has made: what they cost without the run."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from actors.engine import Engine
from actors.engine_settings import engine_environment
from actors.replica import cores_of
from cluster.canary import Canary
from cluster.cpu_time import TreeTime
from cluster.types import GenerationRequest
from configs.player import EngineConfig


class Policy(NamedTuple):
    """A version, as it is loaded."""

    files: dict[str, bytes]
    canary: Canary


class Replayed(NamedTuple):
    cpu_s: float
    """CPU seconds of this process and the engine's."""
    num_tokens: int
    """Generated."""


def replay(
    model: str,
    config: EngineConfig,
    requests: Sequence[GenerationRequest],
    policies: Mapping[int, Policy],
    num_lanes: int,
) -> Replayed:
    """Answer requests in a process that is to do nothing else, version by version.

    Each version is proved and loaded first. Starting the engine, rendering prompts and decoding
    pictures is not counted.

    Args:
        model: folder of the model.
        config: of the engine, with room for two versions.
        requests: sorted by version.
        policies: of every version that is asked for.
        num_lanes: requests in flight.
    """
    os.environ.update(engine_environment(config))
    return asyncio.run(_replay(model, config, requests, policies, num_lanes))


async def _replay(
    model: str,
    config: EngineConfig,
    requests: Sequence[GenerationRequest],
    policies: Mapping[int, Policy],
    num_lanes: int,
) -> Replayed:
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores_of(0, config.cores))  # as a replica binds its engine
    engine = BareEngine(model, config)
    os.sched_setaffinity(0, everywhere)
    try:
        return await engine.replay(requests, policies, num_lanes)
    finally:
        engine.close()


class BareEngine(Engine):
    """Its own loading, vLLM's own answering."""

    async def replay(
        self,
        requests: Sequence[GenerationRequest],
        policies: Mapping[int, Policy],
        num_lanes: int,
    ) -> Replayed:
        prepared = [(request.version, self.prepare(request)) for request in requests]
        tree = TreeTime(os.getpid())
        before_s, num_tokens = tree.look(), 0
        for version, group in groupby(prepared, key=lambda one: one[0]):
            await self.load(version, *policies[version])
            todo = [one for _, one in group]
            lanes = (self._lane(version, n, todo[n::num_lanes]) for n in range(num_lanes))
            num_tokens += sum(await asyncio.gather(*lanes))
            await self.unload(version)
        return Replayed(tree.look() - before_s, num_tokens)

    async def _lane(self, version: int, number: int, todo: Sequence[Any]) -> int:
        """Returns the tokens generated."""
        adapter, num_tokens = self._adapters[version], 0
        for index, (prompt, sampling) in enumerate(todo):
            name = f"replay-{version}-{number}-{index}"
            async for output in self.bare.generate(prompt, sampling, name, lora_request=adapter):
                num_tokens += len(output.outputs[0].token_ids)
        return num_tokens
