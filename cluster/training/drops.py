"""Which groups were dropped and why, and when that is too much."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from cluster.errors import RunError


class Drops:
    """The dropped groups of a run."""

    def __init__(self, max_in_a_row: int) -> None:
        self._max_in_a_row = max_in_a_row
        self._num_in_a_row = 0
        self._reasons: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._reasons)

    def __contains__(self, index: int) -> bool:
        return index in self._reasons

    def add(self, index: int, reason: str) -> None:
        """A group is dropped.

        Raises:
            RunError: it is one too many in a row: the run would go on for ever.
        """
        self._reasons[index] = reason
        self._num_in_a_row += 1
        if self._num_in_a_row >= self._max_in_a_row:
            why = Counter(list(self._reasons.values())[-self._num_in_a_row :])
            raise RunError(
                f"{self._num_in_a_row} groups in a row were dropped, so there is nothing to train"
                f" on ({', '.join(f'{reason}: {num}' for reason, num in why.most_common())}):"
                " choose worlds that are solved sometimes, larger groups or a higher temperature,"
                " or raise max_consecutive_drops"
            )

    def end_row(self) -> None:
        """A group is ready."""
        self._num_in_a_row = 0

    def counts(self) -> dict[str, int]:
        """How many groups by reason."""
        return dict(Counter(self._reasons.values()))

    def snapshot(self) -> dict[str, Any]:
        """For JSON."""
        reasons = [[index, reason] for index, reason in self._reasons.items()]
        return {"reasons": reasons, "num_in_a_row": self._num_in_a_row}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot."""
        self._reasons = dict(snapshot["reasons"])
        self._num_in_a_row = snapshot["num_in_a_row"]
