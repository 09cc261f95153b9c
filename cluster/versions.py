"""Policy versions: which are served, which may still be asked for, which takes a turn. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

_LEAST_RECENT: Final = 2
"""A turn that is being answered may be of the version before."""


@dataclass(frozen=True, slots=True)
class Order:
    """Which policy version an episode is to be played with."""

    version: int
    is_pinned: bool
    """Every turn, whatever the workers do otherwise."""


class Served:
    """Versions, as they were served."""

    def __init__(self, are_turns_newest: bool, num_recent: int) -> None:
        """Args:
        are_turns_newest: an episode goes on with the newest version, unless it is pinned.
        num_recent: then so many versions may be asked for by turns under way.
        """
        self._num_recent = max(num_recent, _LEAST_RECENT) if are_turns_newest else 1
        self._are_turns_newest = are_turns_newest
        self._versions: list[int] = []

    @property
    def newest(self) -> int | None:
        """New episodes get it."""
        return self._versions[-1] if self._versions else None

    def add(self, version: int) -> bool:
        """False: a higher one, or this one, is served already."""
        if self.newest is not None and version <= self.newest:
            return False
        self._versions.append(version)
        return True

    def in_use(self, orders: Iterable[Order]) -> tuple[int, ...]:
        """What turns may be asked for, with these episodes under way."""
        recent = self._versions[-self._num_recent :]
        pinned = (
            order.version for order in orders if order.is_pinned or not self._are_turns_newest
        )
        return tuple(sorted({*recent, *pinned}))


class TurnVersions:
    """What one worker has heard of versions."""

    def __init__(self, of_turns: Literal["pinned", "newest"]) -> None:
        self._is_newest = of_turns == "newest"
        self.newest: int | None = None
        """The highest heard of."""

    def hear(self, version: int | None) -> None:
        """A version was named, or none."""
        if version is not None:
            self.newest = max(version, self.newest or 0)

    def of_turns(self, first: int, is_pinned: bool) -> Callable[[], int]:
        """To be asked at each turn of an episode that begins with version `first`."""
        if self._is_newest and not is_pinned:
            return lambda: max(first, self.newest or 0)
        return lambda: first
