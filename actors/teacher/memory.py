"""What the teacher has been shown: a map drawn from its views, and where creatures are now."""

from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.names import TILES
from cluster.types import Observation

SIDE: Final = 512
"""Cells across the remembered map. It wraps, so worlds up to about 500 tiles across fit."""
NUM_CELLS: Final = SIDE * SIDE
HALF: Final = SIDE // 2

LEFT, RIGHT, UP, DOWN = -1, 1, -SIDE, SIDE
STEPS: Final = (LEFT, RIGHT, UP, DOWN)
MOVES: Final = {LEFT: "move_left", RIGHT: "move_right", UP: "move_up", DOWN: "move_down"}

UNKNOWN: Final = 0
CODE: Final = {name: index + 1 for index, name in enumerate(TILES)}
NAME: Final = ("unknown", *TILES, "stone")
FENCE: Final = len(TILES) + 1
"""A stone that guards a plant: the view calls it `stone` too."""
NUM_CODES: Final = len(NAME)

GRASS, SAND, PATH = CODE["grass"], CODE["sand"], CODE["path"]
STONE, TREE, WATER, LAVA = CODE["stone"], CODE["tree"], CODE["water"], CODE["lava"]
COAL, IRON, DIAMOND = CODE["coal"], CODE["iron"], CODE["diamond"]
TABLE, FURNACE, PLANT = CODE["table"], CODE["furnace"], CODE["plant"]
RIPE_PLANT, VOID = CODE["ripe_plant"], CODE["void"]

_NEVER: Final = -100
WALKABLE: Final = frozenset((GRASS, SAND, PATH))
_GROUND_UNDER: Final = {"cow": GRASS, "zombie": GRASS, "skeleton": PATH, "arrow": PATH}
"""The likeliest ground of a cell first seen with a creature on it."""


def cell_at(x: int, y: int) -> int:
    """The map's index of a displacement."""
    return ((y + HALF) % SIDE) * SIDE + (x + HALF) % SIDE


def offset(origin: int, target: int) -> tuple[int, int]:
    """(dx, dy) from one cell to another, the short way round."""
    dx = target % SIDE - origin % SIDE
    dy = target // SIDE - origin // SIDE
    return (dx + HALF) % SIDE - HALF, (dy + HALF) % SIDE - HALF


def distance(origin: int, target: int) -> int:
    """Steps between two cells over open ground."""
    dx, dy = offset(origin, target)
    return abs(dx) + abs(dy)


class Memory:
    """The map so far. Reads nothing but observations."""

    def __init__(self) -> None:
        self.grid = bytearray(NUM_CELLS)
        """Tile code of the ground or fixed object of each cell; `UNKNOWN` where never seen."""
        self.here = cell_at(0, 0)
        self.facing = DOWN
        self.creatures: dict[int, str] = {}
        """Cows, zombies, skeletons and arrows in view now."""
        self.cows: set[int] = set()
        """Cells where cows are, or were when last in view."""
        self.sites: dict[int, set[int]] = {LAVA: set(), TABLE: set(), FURNACE: set(), PLANT: set()}
        """Cells where each of these tiles was seen; whether it still stands is for `tile`."""
        self.plants: dict[int, int] = {}
        """Cell of each plant and how many steps were spent near enough for it to grow."""
        self.last_zombie_step = _NEVER
        self.hurt_step = _NEVER
        self.health = 9
        self.rest_step = 0
        """When the player last fell asleep or, asleep, gained energy."""
        self._energy = 0
        self.step = 0
        self.box = [HALF, HALF, HALF, HALF]
        """Bounds of what was seen: left, top, right, bottom (inclusive), in map coordinates."""

    def update(self, observation: Observation) -> None:
        """Take in one observation."""
        passed, self.step = observation.step - self.step, observation.step
        health = observation.inventory["health"]
        if health < self.health:
            self.hurt_step = observation.step
        self.health = health
        energy = observation.inventory["energy"]
        if not observation.sleeping or energy > self._energy:
            self.rest_step = observation.step
        self._energy = energy
        self.here = cell_at(*observation.displacement)
        dx, dy = observation.facing
        self.facing = dx + dy * SIDE
        self.creatures = {}
        num_rows, num_columns = len(observation.view), len(observation.view[0])
        corner = self.here - (num_rows // 2) * SIDE - num_columns // 2
        for y, row in enumerate(observation.view):
            self._read_row((corner + y * SIDE) % NUM_CELLS, row)
        self._grow(passed, 2 * num_columns)
        self._widen(corner % NUM_CELLS, num_columns, num_rows)
        if "zombie" in self.creatures.values():
            self.last_zombie_step = observation.step

    def _read_row(self, first: int, row: tuple[str, ...]) -> None:
        grid, cows = self.grid, self.cows
        for index, tile in enumerate(row, first):
            cell = index % NUM_CELLS
            cows.discard(cell)
            if tile == "player":
                self._stand_on(cell)
            elif tile in _GROUND_UNDER:
                self.creatures[cell] = tile
                if grid[cell] not in WALKABLE:
                    grid[cell] = _GROUND_UNDER[tile]
                if tile == "cow":
                    cows.add(cell)
            else:
                code = CODE[tile]
                grid[cell] = code
                if code in self.sites:
                    self.sites[code].add(cell)

    def _stand_on(self, cell: int) -> None:
        code = self.grid[cell]
        if code not in WALKABLE:
            self.grid[cell] = GRASS if code in (UNKNOWN, TREE) else PATH

    def _grow(self, passed: int, reach: int) -> None:
        for cell in self.sites[PLANT]:
            if self.grid[cell] != PLANT:
                self.plants.pop(cell, None)
                continue
            grown = passed if distance(self.here, cell) < reach else 0
            self.plants[cell] = self.plants.get(cell, -grown) + grown
            for step in STEPS:
                if self.grid[(cell + step) % NUM_CELLS] == STONE:
                    self.grid[(cell + step) % NUM_CELLS] = FENCE

    def _widen(self, corner: int, num_columns: int, num_rows: int) -> None:
        left, top = corner % SIDE, corner // SIDE
        box = self.box
        self.box = [
            min(box[0], left),
            min(box[1], top),
            max(box[2], left + num_columns - 1),
            max(box[3], top + num_rows - 1),
        ]

    def array(self) -> npt.NDArray[np.uint8]:
        """The grid as rows and columns, without a copy."""
        return np.frombuffer(self.grid, np.uint8).reshape(SIDE, SIDE)

    def tile(self, cell: int) -> int:
        """Tile code of a cell."""
        return self.grid[cell % NUM_CELLS]

    def is_open(self, cell: int) -> bool:
        """Known ground that one can step onto now."""
        return self.grid[cell % NUM_CELLS] in WALKABLE and cell not in self.creatures

    def can_craft_at(self, cell: int) -> bool:
        """Whether Crafter sees what is near: on the left and upper edge of the world it does not.

        Its 3x3 slice starts at index -1 there, and so is empty.
        """
        return VOID not in (self.tile(cell + LEFT), self.tile(cell + UP))

    def near(self, code: int) -> bool:
        """Whether a tile lies in the 3x3 around the player, where tools are made."""
        here, grid = self.here, self.grid
        return any(
            grid[(here + dx + dy * SIDE) % NUM_CELLS] == code
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        )
