"""Which decisions of a batch are learned from, and in which optimizer update. Pure.

It follows from the batch, the settings and the step alone: the same on every rank, and for any
number of ranks. Axis: N decisions of a batch.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from learners.rl.advantages import Floats

Place = tuple[int, int, int]
"""A decision of a batch: group, play in it, turn in that."""

_ORDER: Final = 4
_DRAW: Final = 5
"""Keep their random numbers apart from others of the same seed."""
_FLOOR: Final = 0.25
"""Of the mean size of an advantage: what the smallest one counts for when it is drawn, since the
entropy of its decision is to be kept up too."""


def lessons_of(
    advantages: Sequence[Sequence[Floats]], fraction: float, seed: int, step: int
) -> dict[Place, float]:
    """The decisions to learn from, each with the advantage that it stands for, in order.

    With a fraction below 1 decisions are drawn by the size of their advantage, and the advantages
    of those drawn are divided by how likely that was: the mean gradient is expected to be that of
    all of them, and little of it is lost (importance sampling, arXiv 1401.2753).

    Args:
        advantages: of each group, of each play in it, of each turn of that.
        fraction: of the decisions to be drawn.
        seed: the run's.
        step: the one that learns from them.
    """
    places = [
        (g, play, turn)
        for g, group in enumerate(advantages)
        for play, advantages_T in enumerate(group)
        for turn in range(len(advantages_T))
    ]
    all_N = np.concatenate([advantages_T for group in advantages for advantages_T in group])
    fraction = max(fraction, 1 / len(places))  # one at least
    if fraction == 1:
        return dict(zip(places, all_N.tolist(), strict=True))
    chances_N = _chances(np.abs(all_N), fraction)
    drawn = _drawn(chances_N, np.random.default_rng([seed, _DRAW, step]))
    return {places[n]: float(all_N[n] * fraction / chances_N[n]) for n in drawn}


def updates_of(
    places: Sequence[Place], minibatch_size: int, seed: int, step: int
) -> list[list[Place]]:
    """Decisions, shuffled, in as few updates as there must be, of nearly one size."""
    shuffled = np.random.default_rng([seed, _ORDER, step]).permutation(len(places))
    parts = np.array_split(shuffled, math.ceil(len(places) / minibatch_size))
    return [[places[index] for index in part] for part in parts]


def _chances(sizes_N: Floats, fraction: float) -> Floats:
    """[N] To be drawn: in proportion to the size, at most 1, and `fraction` on average."""
    floored_N = np.maximum(sizes_N, _FLOOR * sizes_N.mean()) if sizes_N.any() else sizes_N + 1
    is_sure_N = np.zeros(len(floored_N), bool)
    while True:
        left = fraction * len(floored_N) - is_sure_N.sum()
        chances_N = np.where(is_sure_N, 1.0, left * floored_N / floored_N[~is_sure_N].sum())
        if (chances_N <= 1).all():
            return chances_N
        is_sure_N |= chances_N > 1


def _drawn(chances_N: Floats, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Places drawn, rising: systematic sampling, so their number is no matter of luck."""
    order = rng.permutation(len(chances_N))
    ends_N = np.cumsum(chances_N[order]) + rng.random()
    is_drawn_N = np.diff(np.floor(ends_N), prepend=0.0) >= 1
    return np.sort(order[is_drawn_N])
