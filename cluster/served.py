"""Which policy versions are served, and which may still be asked for. Pure."""

from collections.abc import Iterable

from cluster.orders import Order


class Served:
    """Versions, as they were served."""

    def __init__(self, are_turns_newest: bool) -> None:
        """`are_turns_newest`: an episode goes on with the newest version, unless it is pinned."""
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
        # A turn that is being answered may be of the version before.
        recent = self._versions[-2:] if self._are_turns_newest else self._versions[-1:]
        pinned = (
            order.version for order in orders if order.is_pinned or not self._are_turns_newest
        )
        return tuple(sorted({*recent, *pinned}))
