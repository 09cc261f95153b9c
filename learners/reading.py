"""Questions about a picture and their answers, from what a trace says the picture shows. Pure.

A reading is a line of words, each one token of the tiny model. An answer follows its question:

    " 3 5 tree"                    what is at row 3, column 5; rows 7 and 8 hold the inventory
    " item wood 2"                 how many of an item
    " facing left water"           where the player looks, and at what
    " nearest cow 2 left 1 up;"    where the nearest is, as the state text says it; " none;"
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.names import ITEMS, TILES
from cluster.types import Observation

REQUEST: Final = "Read the picture."
"""The user's words before a reading."""

ROWS: Final = 7
COLUMNS: Final = 9
NUM_CELLS: Final = 81
"""Of the view and, below it, the inventory: ITEMS by rows, then two cells that show nothing."""
NUM_READABLE: Final = ROWS * COLUMNS + len(ITEMS)

_PLAYER: Final = TILES.index("player")
_DIRECTIONS: Final = {(-1, 0): " left", (1, 0): " right", (0, -1): " up", (0, 1): " down"}

Words = tuple[tuple[str, bool], ...]
"""Each word, and whether it belongs to the answer."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a picture shows, as its trace says."""

    frame: bytes
    """PNG."""
    tiles: npt.NDArray[np.uint8]
    """[7, 9] indices into TILES."""
    counts: npt.NDArray[np.uint8]
    """[16] as ITEMS."""
    facing: tuple[int, int]
    asleep: bool
    daylight: float


def sight_of(frame: bytes, seen: Observation) -> Sight:
    """What the picture of these facts shows."""
    tiles = np.array([[TILES.index(tile) for tile in row] for row in seen.view], np.uint8)
    counts = np.array([seen.inventory[item] for item in ITEMS], np.uint8)
    return Sight(frame, tiles, counts, seen.facing, seen.sleeping, seen.daylight)


def cell_answer(sight: Sight, cell: int) -> str:
    """What cell number `cell`, by rows, holds: a tile's name or an item's count."""
    if cell < ROWS * COLUMNS:
        return f" {TILES[sight.tiles.flat[cell]]}"
    return f" {sight.counts[cell - ROWS * COLUMNS]}"


def ask_cell(sight: Sight, cell: int) -> Words:
    row, column = divmod(cell, COLUMNS)
    return ((f" {row}", False), (f" {column}", False), (cell_answer(sight, cell), True))


def ask_item(sight: Sight, item: int) -> Words:
    return ((" item", False), (f" {ITEMS[item]}", False), (f" {sight.counts[item]}", True))


def ask_facing(sight: Sight) -> Words:
    dx, dy = sight.facing
    tile = sight.tiles[ROWS // 2 + dy, COLUMNS // 2 + dx]
    return ((" facing", False), (_DIRECTIONS[dx, dy], True), (f" {TILES[tile]}", True))


def ask_nearest(sight: Sight, tile: int) -> Words:
    answer = [(word, True) for word in _nearest(sight.tiles, tile)]
    return ((" nearest", False), (f" {TILES[tile]}", False), *answer, (";", True))


def _nearest(tiles: npt.NDArray[np.uint8], tile: int) -> Iterator[str]:
    places = np.argwhere(tiles == tile) - (ROWS // 2, COLUMNS // 2)
    if not len(places):
        yield " none"
        return
    _, dy, dx = min((abs(dy) + abs(dx), dy, dx) for dy, dx in places.tolist())
    if dx:
        yield from (f" {abs(dx)}", " right" if dx > 0 else " left")
    if dy:
        yield from (f" {abs(dy)}", " down" if dy > 0 else " up")


@dataclass(frozen=True, slots=True)
class Balance:
    """How often to ask what, so that rare things are learned too."""

    tile_weights: npt.NDArray[np.float64]
    """[number of TILES] of a cell that holds it: 1 / sqrt(how often it is seen)."""


def balance_of(sights: Sequence[Sight]) -> Balance:
    seen = np.zeros(len(TILES))
    for sight in sights:
        seen += np.bincount(sight.tiles.ravel(), minlength=len(TILES))
    return Balance(1 / np.sqrt(np.maximum(seen, 1)))


def reading(sight: Sight, balance: Balance, rng: np.random.Generator) -> list[Words]:
    """Some forty questions in random order: cells at random, rare cells, inventory, the rest."""
    weights = balance.tile_weights[sight.tiles.ravel()]
    cells = [*rng.choice(ROWS * COLUMNS, 16, replace=False)]
    cells += [*rng.choice(ROWS * COLUMNS, 8, replace=False, p=weights / weights.sum())]
    held = (sight.counts > 0) + 0.25
    cells += [*(ROWS * COLUMNS + rng.choice(len(ITEMS), 8, replace=False, p=held / held.sum()))]
    questions = [ask_cell(sight, int(cell)) for cell in cells]
    questions += [ask_item(sight, int(item)) for item in rng.choice(len(ITEMS), 2, replace=False)]
    here = [tile for tile in np.unique(sight.tiles) if tile != _PLAYER]
    nearest = [*rng.choice(here, min(3, len(here)), replace=False), rng.choice(len(TILES))]
    questions += [ask_nearest(sight, int(tile)) for tile in nearest]
    questions.append(ask_facing(sight))
    order = rng.permutation(len(questions))
    return [questions[index] for index in order]


def frame_weights(sights: Sequence[Sight]) -> npt.NDArray[np.float64]:
    """How often to show each picture: 1 / sqrt(pictures with its rarest tile); they sum to 1."""
    present = np.zeros((len(sights), len(TILES)), bool)
    for index, sight in enumerate(sights):
        present[index, sight.tiles.ravel()] = True
    rarity = 1 / np.sqrt(np.maximum(present.sum(0), 1))
    weights = (present * rarity).max(1)
    return np.asarray(weights / weights.sum())
