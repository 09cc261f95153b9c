"""The game as a player meets it: one Crafter world from its first step to its last."""

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from crafter import constants
from numpy.typing import NDArray
from PIL import Image

from actors.drawing import Light, painter
from actors.world import Cell, World
from cluster.names import ACHIEVEMENTS, ACTIONS
from cluster.types import Observation
from configs.play import EnvConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one action did."""

    reward: float
    """Crafter's own: a tenth of the change of health, and 1 if anything was unlocked."""
    terminated: bool
    """The player died."""
    truncated: bool
    """The time limit was reached alive."""
    unlocked: tuple[str, ...]
    """Achievements reached for the first time, in Crafter's order."""
    earned: tuple[str, ...]
    """Achievements reached, for the first time or again, in Crafter's order."""
    health_change: int
    gained: dict[str, int]
    """Items and vitals of which there are more than before, and how many more."""
    damaged: bool
    """Health is lower than before."""
    blocked: bool
    """A move, carried out awake, that turned the player but left it where it was."""
    idle: bool
    """The action could do nothing, as a noop does, or a blow at what can't be had."""


QUIET: Final = Step(
    reward=0.0,
    terminated=False,
    truncated=False,
    unlocked=(),
    earned=(),
    health_change=0,
    gained={},
    damaged=False,
    blocked=False,
    idle=False,
)
"""A step in which nothing happened."""


class Game:
    """One episode in a fresh world, the first world of stock `crafter.Env(seed=seed)`.

    Equal seeds and actions give equal games in every process, whatever is looked at.
    """

    def __init__(self, config: EnvConfig, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"seed {seed} is negative: give 0 or more")
        self._config = config
        self._seed = seed
        self._world = World(config.area, config.view, seed)
        self._player = self._world.player
        self._start: tuple[int, int] = tuple(self._player.pos.tolist())
        self._over = False

    def step(self, action: str) -> Step:
        """Take one of the 17 actions.

        Raises:
            RuntimeError: the game is over.
            ValueError: no such action.
        """
        if self._over:
            raise RuntimeError(
                f"the game of seed {self._seed} ended at step {self._world.step}: "
                "make a new Game for another episode"
            )
        if action not in ACTIONS:
            raise ValueError(f"unknown action {action!r}: give one of {', '.join(ACTIONS)}")
        player = self._player
        health, place = player.health, player.pos.tolist()
        had, done = player.inventory.copy(), player.achievements.copy()
        moves = action.startswith("move_") and not self._sleeps_on()
        did_anything = self._world.tick(action)
        counts = player.achievements
        earned = tuple(name for name in ACHIEVEMENTS if counts[name] > done[name])
        unlocked = tuple(name for name in earned if not done[name])
        terminated = player.health <= 0
        truncated = not terminated and self._world.step >= self._config.length
        self._over = terminated or truncated
        return Step(
            reward=(player.health - health) / 10 + bool(unlocked),
            terminated=terminated,
            truncated=truncated,
            unlocked=unlocked,
            earned=earned,
            health_change=player.health - health,
            gained={name: n - had[name] for name, n in player.inventory.items() if n > had[name]},
            damaged=player.health < health,
            blocked=moves and player.pos.tolist() == place,
            idle=not did_anything,
        )

    def observe(self) -> Observation:
        """The facts of this moment; later steps leave them as they are."""
        x, y = self._player.pos.tolist()
        return Observation(
            step=self._world.step,
            length=self._config.length,
            view=tuple(tuple(map(_tile_name, row)) for row in self._world.cells()),
            inventory=dict(self._player.inventory),
            facing=self._player.facing,
            displacement=(x - self._start[0], y - self._start[1]),
            sleeping=self._player.sleeping,
            daylight=self._world.daylight,
            achievements=self._achievements(),
        )

    def draw(self, size: int) -> NDArray[np.uint8]:
        """The picture [y, x, rgb] of this moment, `size` pixels wide and high.

        At 64 pixels it is stock Crafter's, bit for bit. The night noise of other sizes is of
        their own, the same at every look at the same step.
        """
        artist, cells, noise = painter(self._config.view, size), self._world.cells(), None
        if self._world.noise is not None:
            shape = artist.map_shape(len(cells))
            noise = self._world.noise
            if noise.shape != shape:
                random = np.random.default_rng((self._seed, self._world.step))
                noise = random.uniform(32, 127, shape)
            noise = noise.T
        light = Light(self._world.daylight, self._player.sleeping, noise)
        return artist.draw(cells, self._player.inventory, light)

    def _achievements(self) -> tuple[str, ...]:
        counts = self._player.achievements
        return tuple(name for name in ACHIEVEMENTS if counts[name])

    def _sleeps_on(self) -> bool:
        """Whether the next action, whatever it is, will be sleep."""
        tired = self._player.inventory["energy"] < constants.items["energy"]["max"]
        return bool(self._player.sleeping and tired)


def _tile_name(cell: Cell) -> str:
    ground, occupant = cell
    if occupant is None:
        return ground or "void"
    # The rest of a name is a way of looking: player-left, player-sleep, arrow-up.
    return "ripe_plant" if occupant == "plant-ripe" else occupant.partition("-")[0]


def encode_png(frame: NDArray[np.uint8]) -> bytes:
    """A picture [y, x, rgb] as PNG, without loss."""
    data = io.BytesIO()
    # Level 1: at night, when noise does not compress, level 6 takes three times as long and saves
    # nothing; by day the picture is small at any level.
    Image.fromarray(frame).save(data, format="PNG", compress_level=1)
    return data.getvalue()
