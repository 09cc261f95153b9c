"""Which decisions each optimizer update of a step learns from. Pure."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from cluster.credit import Credit

Place = tuple[int, int, int]
"""A decision of a batch: group, play in it, turn in that."""

_ORDER: Final = 4
"""Keeps its random numbers apart from others of the same seed."""


def updates_of(
    groups: Sequence[Sequence[Credit]], minibatch_size: int, seed: int, step: int
) -> list[list[Place]]:
    """All decisions of a batch, shuffled, in as few updates as there must be, of nearly one size.

    It follows from the batch, the seed and the step alone: the same on every rank, and for any
    number of ranks.
    """
    places = [
        (g, play, turn)
        for g, group in enumerate(groups)
        for play, played in enumerate(group)
        for turn in range(len(played.rewards_T))
    ]
    shuffled = np.random.default_rng([seed, _ORDER, step]).permutation(len(places))
    parts = np.array_split(shuffled, math.ceil(len(places) / minibatch_size))
    return [[places[index] for index in part] for part in parts]
