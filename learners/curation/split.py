"""Which worlds are held out for validation. Pure."""

from collections.abc import Iterable

import numpy as np

from cluster.errors import UserError
from learners.curation.facts import Facts


def held_out(episodes: Iterable[Facts], val_fraction: float, seed: int) -> frozenset[int]:
    """Draw whole worlds, so that no world is on both sides.

    Worlds are lined up by their mean number of achievements, equals in random order, and taken at
    even distances: any stretch of the line gives its share, more or less one.

    Args:
        episodes: those that stay.
        val_fraction: share of the worlds to take, at least one of them; 0 takes none.
        seed: of the draw.

    Raises:
        UserError: a single world can't be divided.
    """
    achievements: dict[int, list[int]] = {}
    for facts in episodes:
        achievements.setdefault(facts.seed, []).append(facts.num_achievements)
    if not val_fraction:
        return frozenset()
    if len(achievements) < 2:
        raise UserError(
            f"{len(achievements)} world can't be split into training and validation: "
            "collect more seeds, or set split.val_fraction 0"
        )
    random = np.random.default_rng(seed)
    worlds = random.permutation(sorted(achievements)).tolist()
    worlds.sort(key=lambda world: float(np.mean(achievements[world])))
    number = min(max(round(val_fraction * len(worlds)), 1), len(worlds) - 1)
    places = (np.arange(number) + random.random()) * len(worlds) / number
    return frozenset(worlds[int(place)] for place in places)
