"""What a batch says of the play that it is made of, and of what went wrong meanwhile. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.credit import Credit, Played
from cluster.names import ACHIEVEMENTS
from cluster.training.batches import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishaps:
    """What a run has suffered so far."""

    drops: Mapping[str, int]
    """Groups by the reason they were dropped for."""
    num_discarded: int
    """Episodes that came in after their groups were dropped or trained."""
    num_replayed: int
    """Starts beyond an episode's first."""

    def since(self, before: "Mishaps") -> dict[str, Any]:
        """What came after `before`, for JSON."""
        return {
            "drops": dict(Counter(self.drops) - Counter(before.drops)),
            "num_discarded": self.num_discarded - before.num_discarded,
            "num_replayed": self.num_replayed - before.num_replayed,
        }


def stats(batch: Sequence[Group[Played]]) -> dict[str, Any]:
    """What the ranks can't tell of a batch from its credits, for JSON."""
    summaries = [episode.facts.summary for group in batch for episode in group.episodes]
    unlocked = Counter(name for summary in summaries for name in summary.achievements)
    num_bad = sum(sum(summary.invalid_calls.values()) for summary in summaries)
    return {
        "num_episodes": len(summaries),
        "mean_achievements": unlocked.total() / len(summaries),
        "success": {name: unlocked[name] / len(summaries) for name in ACHIEVEMENTS},
        "bad_call_share": num_bad / sum(summary.num_turns for summary in summaries),
        "endings": dict(Counter(summary.ending.value for summary in summaries)),
    }


def credit_in(played: Played) -> Credit:
    """The credit of an episode that is in a group: only those with decisions are."""
    if played.credit is None:
        raise ValueError(f"{played.summary.spec.id} has no decision")
    return played.credit
