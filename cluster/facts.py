"""The facts of a decision as yes and no: for a critic, never for the player. Pure.

Axes: T decisions of a play, F facts.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.names import ACHIEVEMENTS, ITEMS, TILES, VITALS
from cluster.types import Observation

_REACHES: Final = (1, 2, 4, 99)
"""Tiles to go, at most, to what is near; the last is anywhere in sight."""
_AMOUNTS: Final = (1, 2, 3, 5)
"""Of an item, at least; recipes of the first tools ask for no more."""
_LEVELS: Final = range(1, 10)
"""Of a vital, at least; 9 is full."""
_LIGHTS: Final = (0.25, 0.5, 0.75)
"""Of daylight, at least."""
_AROUND: Final = tuple(tile for tile in TILES if tile != "player")

NUM_FACTS: Final = (
    len(_AROUND) * len(_REACHES)
    + len(TILES)
    + len(VITALS) * len(_LEVELS)
    + (len(ITEMS) - len(VITALS)) * len(_AMOUNTS)
    + len(ACHIEVEMENTS)
    + len(_LIGHTS)
    + 1
)


def facts_of(seen: Observation) -> list[bool]:
    """[F] What is near and faced, what the player has and has done, light and sleep."""
    return [
        *_near(seen),
        *(seen.facing_tile == tile for tile in TILES),
        *_has(seen),
        *(name in seen.achievements for name in ACHIEVEMENTS),
        *(seen.daylight >= light for light in _LIGHTS),
        seen.sleeping,
    ]


def pack(facts: Iterable[list[bool]]) -> bytes:
    """[T] of `facts_of`, small: those of a play hardly change from one decision to the next."""
    return zlib.compress(np.packbits(np.array([*facts], bool), axis=1).tobytes(), 1)


def unpack(packed: bytes) -> npt.NDArray[np.bool_]:
    """[T, F]"""
    bits = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(-1, (NUM_FACTS + 7) // 8)
    return np.unpackbits(bits, axis=1, count=NUM_FACTS).astype(bool)


def _near(seen: Observation) -> Iterator[bool]:
    middle_row, middle_column = len(seen.view) // 2, len(seen.view[0]) // 2
    nearest: dict[str, int] = {}
    for y, row in enumerate(seen.view):
        for x, tile in enumerate(row):
            away = abs(y - middle_row) + abs(x - middle_column)
            nearest[tile] = min(away, nearest.get(tile, away))
    for tile in _AROUND:
        for reach in _REACHES:
            yield tile in nearest and nearest[tile] <= reach


def _has(seen: Observation) -> Iterator[bool]:
    for item in ITEMS:
        for amount in _LEVELS if item in VITALS else _AMOUNTS:
            yield seen.inventory[item] >= amount
