"""A player that asks the embedded teacher."""

import numpy as np

from actors.policies.vllm import sampling_seed
from actors.teacher.teacher import Teacher
from actors.tool import render_call
from cluster.names import ACTIONS
from cluster.types import Completion, EpisodeSpec, Prompt
from configs.player import ScriptedPlayer


class ScriptedPolicy:
    """Plays one episode by the teacher's rules; equal specs play alike.

    The teacher is told every observation, also where its decision gives way to a random action.
    """

    def __init__(self, player: ScriptedPlayer, max_actions: int, spec: EpisodeSpec) -> None:
        self._random_share = player.random_action_share
        self._teacher = Teacher(max_actions, seed=sampling_seed(spec, 0))

    async def act(self, prompt: Prompt) -> Completion:
        decision = self._teacher.decide(prompt.observation)
        random = np.random.default_rng((1, sampling_seed(prompt.spec, prompt.turn)))
        if random.random() < self._random_share:
            return Completion(text=render_call([ACTIONS[random.integers(len(ACTIONS))]]))
        return Completion(text=render_call(decision.actions, decision.rationale))
