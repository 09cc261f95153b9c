"""A player that draws its actions evenly: the floor that others are measured against."""

import numpy as np

from actors.policies.vllm import sampling_seed
from actors.tool import render_call
from cluster.names import ACTIONS
from cluster.types import Completion, EpisodeSpec, Prompt
from configs.player import RandomPlayer


class RandomPolicy:
    """Plays one episode with legal calls; equal specs play alike."""

    def __init__(self, player: RandomPlayer, spec: EpisodeSpec) -> None:
        self._num_actions = player.num_actions
        self._spec = spec

    async def act(self, prompt: Prompt) -> Completion:
        random = np.random.default_rng((2, sampling_seed(self._spec, prompt.turn)))
        drawn = random.integers(len(ACTIONS), size=self._num_actions)
        return Completion(text=render_call([ACTIONS[index] for index in drawn]))
