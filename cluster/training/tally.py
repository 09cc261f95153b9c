"""What became of a run's episodes, counted from what happened. Pure.

The states of `cluster.training.groups` always add up: they partition what it knows. This counts
what was let in and what ranks were given of the batches that were committed; only if nothing was
forgotten and nothing given twice do both tell the same.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.types import EpisodeSpec


class Tally:
    """Counts, over all starts of a run."""

    def __init__(
        self, index: Callable[[EpisodeSpec], int], snapshot: Mapping[str, Any] | None = None
    ) -> None:
        """`index` gives the group of an episode; `snapshot` is of an earlier start."""
        found = snapshot or {"asked": 0, "trained": 0, "doubled": 0, "groups": []}
        self._index = index
        self.num_asked: int = found["asked"]
        """Episodes let in."""
        self.num_trained: int = found["trained"]
        """Different ones that ranks were given of committed batches."""
        self.num_doubled: int = found["doubled"]
        """How often a rank was given one that a rank had been given."""
        self._groups: set[int] = set(found["groups"])
        """Trained."""

    def let_in(self, num_episodes: int) -> None:
        self.num_asked += num_episodes

    def trained(self, given: Sequence[EpisodeSpec]) -> None:
        """A batch is committed, and these are all the episodes that ranks were given of it."""
        fresh = {spec for spec in given if self._index(spec) not in self._groups}
        self.num_trained += len(fresh)
        self.num_doubled += len(given) - len(fresh)
        self._groups |= {self._index(spec) for spec in fresh}

    def snapshot(self, given: Sequence[EpisodeSpec]) -> dict[str, Any]:
        """As it is once `given` are trained, for JSON."""
        later = Tally(self._index, self._now())
        later.trained(given)
        return later._now()

    def _now(self) -> dict[str, Any]:
        return {
            "asked": self.num_asked,
            "trained": self.num_trained,
            "doubled": self.num_doubled,
            "groups": sorted(self._groups),
        }
