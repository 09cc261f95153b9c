"""Legal calls, drawn evenly."""

import random

from actors.tool import render_call
from cluster.names import ACTIONS
from cluster.types import Completion, EpisodeSpec, Prompt
from configs.player import RandomPlayer


class RandomPolicy:
    """Repeats itself exactly for an equal (seed, sample, turn)."""

    def __init__(self, player: RandomPlayer, spec: EpisodeSpec) -> None:
        self._player = player
        self._spec = spec

    async def act(self, prompt: Prompt) -> Completion:
        rng = random.Random(f"{self._spec.seed}/{self._spec.sample}/{prompt.turn}")
        return Completion(text=render_call(rng.choices(ACTIONS, k=self._player.num_actions)))
