"""Which policy version a worker's turns are played with. Pure."""

from collections.abc import Callable
from typing import Literal


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
