"""Where to look next: how much of what is sought each reachable cell would reveal."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from actors.teacher.memory import (
    CODE,
    GRASS,
    NUM_CODES,
    SAND,
    SIDE,
    TREE,
    UNKNOWN,
    VOID,
    WATER,
    Memory,
)
from actors.teacher.paths import UNIT, Reach

Floats = npt.NDArray[np.float32]
Gains = tuple[Floats, tuple[int, int]]
"""By row and column, and the map coordinates (x, y) of the first of them."""

_MARGIN: Final = 6
_PRIOR_RADIUS: Final = 4
_PRIOR_WEIGHT: Final = 6.0
"""Cells' worth of evidence that the prior shares count for where little is known."""
_NEVER_LAND: Final = (GRASS, SAND, TREE, WATER, VOID, UNKNOWN)
_MOUNTAIN: Final = tuple(
    code for code in range(NUM_CODES) if code not in (*_NEVER_LAND, CODE["plant"], CODE["table"])
)


@dataclass(frozen=True, slots=True)
class Interest:
    """How much finding each kind of land is worth; a share of 1 for the most wanted."""

    mountain: float
    trees: float
    water: float
    grass: float


@dataclass(frozen=True, slots=True)
class Lookout:
    """A cell from which something new would be seen."""

    cell: int
    cost: int
    gain: float
    """Expected number of useful new cells in the view from there."""


def _indicator(codes: tuple[int, ...]) -> Floats:
    table = np.zeros(NUM_CODES, np.float32)
    table[list(codes)] = 1
    return table


_KINDS: Final = (
    (_indicator(_MOUNTAIN), 0.35),
    (_indicator((TREE,)), 0.08),
    (_indicator((WATER, SAND)), 0.12),
    (_indicator((GRASS, TREE)), 0.45),
)
"""Tiles of each kind of land with the share of a new world that is so."""


def _box_sum(values: Floats, rx: int, ry: int) -> Floats:
    """Sum over the (2 rx + 1) x (2 ry + 1) window around each cell."""
    padded = np.pad(values, ((ry + 1, ry), (rx + 1, rx)))
    total = padded.cumsum(0).cumsum(1)
    height, width = 2 * ry + 1, 2 * rx + 1
    result: Floats = (
        total[height:, width:]
        - total[:-height, width:]
        - total[height:, :-width]
        + total[:-height, :-width]
    )
    return result


def gains(memory: Memory, interest: Interest, view: tuple[int, int]) -> Gains:
    """Expected useful new cells in the view from each cell of a part of the map.

    Args:
        memory: the map.
        interest: what is sought.
        view: columns and rows of a view.
    """
    left, top = max(memory.box[0] - _MARGIN, 0), max(memory.box[1] - _MARGIN, 0)
    right, bottom = memory.box[2] + _MARGIN + 1, memory.box[3] + _MARGIN + 1
    codes = memory.array()[top:bottom, left:right]
    unknown = (codes == UNKNOWN).astype(np.float32)
    known = _box_sum(1 - unknown, _PRIOR_RADIUS, _PRIOR_RADIUS) + _PRIOR_WEIGHT
    weights = (interest.mountain, interest.trees, interest.water, interest.grass)
    value = np.zeros_like(unknown)
    for (tiles, share), weight in zip(_KINDS, weights, strict=True):
        if weight:
            seen = _box_sum(tiles[codes], _PRIOR_RADIUS, _PRIOR_RADIUS)
            value += (weight / share**0.5) * (seen + share * _PRIOR_WEIGHT) / known
    return _box_sum(value * unknown, view[0] // 2, view[1] // 2), (left, top)


def gain_at(gain: Gains, cell: int) -> float:
    """The gain of one cell; nothing outside the part of the map that was looked at."""
    values, (left, top) = gain
    x, y = cell % SIDE - left, cell // SIDE - top
    inside = 0 <= x < values.shape[1] and 0 <= y < values.shape[0]
    return float(values[y, x]) if inside else 0.0


def best_lookout(memory: Memory, reach: Reach, gain: Gains, bias: Floats) -> Lookout | None:
    """The lookout with the most gain for its cost; none if all that can be reached is known.

    `bias` holds a factor for the right, left, lower and upper half around the player, so that
    players of different seeds do not all explore alike.
    """
    values, (left, top) = gain
    cells = np.fromiter(reach.cost.keys(), np.int64, len(reach.cost))
    costs = np.fromiter(reach.cost.values(), np.int64, len(reach.cost))
    xs, ys = cells % SIDE - left, cells // SIDE - top
    inside = (xs >= 0) & (ys >= 0) & (xs < values.shape[1]) & (ys < values.shape[0])
    xs, ys, cells, costs = xs[inside], ys[inside], cells[inside], costs[inside]
    found = values[ys, xs]
    here_x, here_y = memory.here % SIDE - left, memory.here // SIDE - top
    tilt = np.where(xs > here_x, bias[0], bias[1]) * np.where(ys > here_y, bias[2], bias[3])
    scores = found * tilt / (costs + 4 * UNIT)
    if not len(scores) or scores.max() <= 0:
        return None
    index = int(scores.argmax())
    return Lookout(int(cells[index]), int(costs[index]), float(found[index]))
