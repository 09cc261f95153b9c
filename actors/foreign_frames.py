"""A control: who looks at its pictures must play far worse when they show another world."""

from typing import Final

import numpy as np
import numpy.typing as npt

from actors.game import Game, Step
from cluster.types import Observation
from configs.play import EnvConfig

_AWAY: Final = 500_000
"""From a world's seed to that of the world it is shown with."""


class ForeignFrames:
    """One world's game with another world's pictures.

    The same actions are taken in both, so that the pictures move as a player's own would.
    """

    def __init__(self, config: EnvConfig, seed: int) -> None:
        self._played = Game(config, seed)
        self._shown = Game(config, seed + _AWAY)
        self._is_shown_over = False

    def step(self, action: str) -> Step:
        if not self._is_shown_over:
            shown = self._shown.step(action)
            self._is_shown_over = shown.terminated or shown.truncated
        return self._played.step(action)

    def observe(self) -> Observation:
        return self._played.observe()

    def draw(self, size: int) -> npt.NDArray[np.uint8]:
        return self._shown.draw(size)
