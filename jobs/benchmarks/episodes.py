"""Episodes of real content for benchmarks that play none, as those of a served model would be."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from cluster.types import Trajectory, Turn


def episodes(num_turns: Sequence[int], size: int) -> "list[Trajectory]":
    """Of so many decisions each, with frames of `size` pixels; a random player's."""
    return [asyncio.run(_play(seed, num, size)) for seed, num in enumerate(num_turns)]


async def _play(seed: int, num_turns: int, size: int) -> "Trajectory":
    from actors.episode import play
    from actors.game import Game
    from actors.policies.random import RandomPolicy
    from actors.seat import seat
    from cluster.types import EpisodeSpec
    from configs.jobs import CollectConfig
    from configs.player import RandomPlayer

    config = CollectConfig.model_validate(
        {
            "output": "benchmark",
            "seeds": "0",
            "policy": "random",
            "env": {"size": size},
            "play": {"max_turns": num_turns, "record_frames": True},
        }
    )
    spec = EpisodeSpec(seed=seed)
    player = RandomPlayer(kind="random", num_actions=3)
    table = replace(seat(player, config, version=0).table, sees_pictures=True)
    whole = await play(spec, lambda _: Game(config.env, seed), RandomPolicy(player, spec), table)
    return replace(whole, turns=tuple(map(_served, whole.turns)))


def _served(turn: "Turn") -> "Turn":
    """A decision with the ids and log-probabilities of a model with a vocabulary of 150,000: four
    letters to a token, a token of its own for each of 81 patches."""
    words = turn.system + turn.text
    ids = [crc32(words[at : at + 4].encode()) % 150_000 for at in range(0, len(words), 4)]
    answer = turn.completion.text
    tokens = [crc32(answer[at : at + 4].encode()) % 150_000 for at in range(0, len(answer), 4)]
    chance = np.random.default_rng(turn.index)
    completion = replace(
        turn.completion,
        prompt_ids=(*ids, *[149_999] * 81),
        token_ids=tuple(tokens),
        logprobs=tuple(chance.uniform(-2, 0, len(tokens)).tolist()),
        version=1,
        temperature=1.0,
        num_prompt_tokens=len(ids) + 81,
        num_completion_tokens=len(tokens),
    )
    return replace(turn, completion=completion)
