"""Gymnasium's interface to the game, for code that expects one."""

from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from actors.game import Game
from cluster.names import ACTIONS, CLASSIC_SIZE
from configs.play import EnvConfig

ENV_ID: Final = "pickaxe/Crafter-v0"
"""For `gymnasium.make`, once this module is imported."""

_METADATA: Final[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}


class CrafterEnv(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """Crafter with a picture after every step.

    Args:
        config: the world and its picture; `size = "auto"` is the classic 64 pixels.
        render_mode: None or "rgb_array".

    `info["facts"]` is the `Observation`; a step adds `unlocked`, `damaged` and `blocked`.
    """

    metadata = _METADATA

    def __init__(self, config: EnvConfig | None = None, render_mode: str | None = None) -> None:
        self._config = config or EnvConfig()
        self._size = CLASSIC_SIZE if self._config.size == "auto" else self._config.size
        self.render_mode = render_mode
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))
        self.observation_space = gymnasium.spaces.Box(0, 255, (self._size, self._size, 3), np.uint8)
        self._game: Game | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin a new world: that of `seed`, or without one the next of the last seed's series."""
        super().reset(seed=seed, options=options)
        world_seed = int(self.np_random.integers(2**31)) if seed is None else seed
        self._game = Game(self._config, world_seed)
        return self._game.draw(self._size), {"facts": self._game.observe()}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Take the action of that place in `cluster.names.ACTIONS`.

        Raises:
            gymnasium.error.ResetNeeded: before the first `reset`.
            RuntimeError: the game is over.
        """
        game = self._running()
        done = game.step(ACTIONS[action])
        info = {
            "facts": game.observe(),
            "unlocked": done.unlocked,
            "damaged": done.damaged,
            "blocked": done.blocked,
        }
        return game.draw(self._size), done.reward, done.terminated, done.truncated, info

    def render(self) -> NDArray[np.uint8] | None:
        """The present picture in mode "rgb_array", else nothing."""
        if self.render_mode is None:
            return None
        return self._running().draw(self._size)

    def _running(self) -> Game:
        if self._game is None:
            raise ResetNeeded("no world yet: call reset() first")
        return self._game


gymnasium.register(ENV_ID, entry_point=f"{__name__}:CrafterEnv")
