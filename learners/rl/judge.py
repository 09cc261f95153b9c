"""Whether a group can teach anything. Pure; sent to the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cluster.credit import Credit
from learners.rl.advantages import ADVANTAGES, is_flat

FLAT: Final = "no advantage"


@dataclass(frozen=True, slots=True)
class FlatJudge:
    """Dynamic sampling: a group in which every play is as good as the others is dropped, and
    another is played in its place (DAPO, arXiv 2503.14476, section 3.2)."""

    advantage: str
    gamma: float

    def __call__(self, group: Sequence[Credit]) -> str:
        """'' or why nothing can be learned from these."""
        if self.advantage == "critic":
            return ""  # which judges by other groups
        return FLAT if is_flat(ADVANTAGES[self.advantage](group, self.gamma)) else ""
