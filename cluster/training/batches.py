"""Which groups of episodes make the batch of a learner step, and which rank learns from what.

Values and pure functions; `cluster.training.groups` keeps the account.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cluster.types import EpisodeSpec

Facts = TypeVar("Facts")
"""What is known of an episode: enough to judge its group and to tell its cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Generic[Facts]):
    """What came in of one episode."""

    spec: EpisodeSpec
    version: int
    """The oldest that answered one of its turns."""
    num_bytes: int
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Generic[Facts]):
    """Plays of one world, admitted together and trained together."""

    index: int
    """The how-manieth group of the run."""
    version: int
    """Served when it was admitted: no turn of it is older."""
    specs: tuple[EpisodeSpec, ...]
    played: dict[EpisodeSpec, Finished[Facts]] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[EpisodeSpec, ...]:
        """Still to be played."""
        return tuple(spec for spec in self.specs if spec not in self.played)

    @property
    def num_missing(self) -> int:
        return len(self.specs) - len(self.played)

    @property
    def is_ready(self) -> bool:
        return not self.num_missing

    @property
    def episodes(self) -> tuple[Finished[Facts], ...]:
        """What has come in, in the order of the specs."""
        return tuple(self.played[spec] for spec in self.specs if spec in self.played)


def age(group: Group[Facts]) -> tuple[int, int]:
    """Sorts the oldest first."""
    return group.version, group.index


def choose(
    open_groups: Iterable[Group[Facts]],
    reserved: Collection[int],
    step: int,
    num_groups: int,
    max_staleness: int,
) -> Sequence[Group[Facts]] | None:
    """The oldest ready groups, the reserved ones among them; None while it is better to wait.

    A group of version v is too old after step v + max_staleness. So whatever is left out must
    find a place in time: the k-th oldest of them in step + 1 + k // num_groups at best.
    """
    groups = sorted(open_groups, key=age)
    kept = [group for group in groups if group.index in reserved]
    if not all(group.is_ready for group in kept):
        return None
    others = [group for group in groups if group.is_ready and group.index not in reserved]
    chosen = sorted(kept + others[: num_groups - len(kept)], key=age)
    taken = {group.index for group in chosen}
    left = (group.version for group in groups if group.index not in taken)
    fits = all(
        step + 1 + k // num_groups <= version + max_staleness for k, version in enumerate(left)
    )
    return chosen if fits and len(chosen) == num_groups else None


def deal_out(
    batch: Sequence[Group[Facts]], num_ranks: int, cost: Callable[[Finished[Facts]], float]
) -> tuple[tuple[EpisodeSpec, ...], ...]:
    """Each rank's episodes, whole, dearest first.

    Greedy: the dearest episode left goes to the rank with the least to do. A rank gets none
    where there are fewer episodes than ranks.
    """
    episodes = [played for group in batch for played in group.episodes]
    costs = {played.spec: cost(played) for played in episodes}
    shares: list[list[EpisodeSpec]] = [[] for _ in range(num_ranks)]
    loads = [0.0] * num_ranks
    # The sort is stable and ties go to the shortest share, then the first: one answer only.
    for spec in sorted(costs, key=lambda spec: -costs[spec]):
        rank = min(range(num_ranks), key=lambda rank: (loads[rank], len(shares[rank])))
        shares[rank].append(spec)
        loads[rank] += costs[spec]
    return tuple(tuple(share) for share in shares)
