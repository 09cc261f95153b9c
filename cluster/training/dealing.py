"""Who trains on what: the batch of a step, dealt out to the ranks. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.credit import Credit, Played
from cluster.errors import RunError
from cluster.training.account import TrainingAccount, part_name
from cluster.training.batches import Group, deal_out
from cluster.training.figures import credit_in, stats
from cluster.types import EpisodeSpec

Credits = tuple[tuple[Credit, ...], ...]
"""Of the plays, in order, of the groups, in order, of a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """An episode that a rank learns from."""

    group: int
    """Place of its group in the batch."""
    number: int
    """Place in its group."""
    spec: EpisodeSpec
    trajectory: Any
    """ObjectRef of its Trajectory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one rank trains on in a step, and what all of them together do."""

    step: int
    groups: Credits
    """The whole batch, the same for every rank."""
    mine: tuple[Piece, ...]
    """This rank's; each episode of the batch is one rank's."""
    stats: dict[str, Any]
    """Of the whole batch, and of what went wrong since the last step; for JSON."""


_Plays = tuple[tuple[Played, ...], ...]


@dataclass(frozen=True, slots=True)
class _Batch:
    step: int
    groups: Sequence[Group[Played]]
    plays: _Plays
    """What a batch is known by: no other play, however like one of these, may take its place."""
    credits: Credits
    stats: dict[str, Any]


class Dealing:
    """The batch that is due, and what each rank was told of it."""

    def __init__(self, account: TrainingAccount, mishaps: Callable[[], dict[str, Any]]) -> None:
        """`mishaps`: those since the last step, which are told with a batch."""
        self._account = account
        self._mishaps = mishaps
        self._batch: _Batch | None = None
        self._shares: tuple[tuple[EpisodeSpec, ...], ...] = ()
        """By rank, as they are now."""
        self._told: dict[int, tuple[EpisodeSpec, ...]] = {}
        """By rank, of this batch."""

    def share(self, step: int, rank: int, num_ranks: int) -> Share | None:
        """What `rank` trains on in `step`; None while it is to be waited for.

        Asked again it is the same, unless something of it was lost meanwhile.

        Raises:
            ValueError: that step is trained already, or never will be.
        """
        batch = self._due(step)
        if batch is None:
            return None
        if num_ranks != len(self._shares):
            self._shares = deal_out(
                batch.groups, num_ranks, lambda one: one.facts.summary.num_turns
            )
            self._told = {}
        self._told[rank] = self._shares[rank]
        places = {
            spec: (place, number)
            for place, group in enumerate(batch.groups)
            for number, spec in enumerate(group.specs)
        }
        return Share(
            step=step,
            groups=batch.credits,
            mine=tuple(self._piece(spec, *places[spec]) for spec in self._shares[rank]),
            stats=batch.stats,
        )

    def _piece(self, spec: EpisodeSpec, group: int, number: int) -> Piece:
        trajectory = self._account.trajectory(spec)
        return Piece(group=group, number=number, spec=spec, trajectory=trajectory)

    def _due(self, step: int) -> _Batch | None:
        groups = self._account.batch(step)
        if groups is None:
            return None
        plays = tuple(tuple(played.facts for played in group.episodes) for group in groups)
        known = self._batch
        if known is None or (known.step, known.plays) != (step, plays):
            told = stats(groups) | self._mishaps()
            credits = tuple(tuple(map(credit_in, group)) for group in plays)
            self._batch = known = _Batch(step, groups, plays, credits, told)
            self._shares, self._told = (), {}
        return known

    def is_dealt(self, step: int) -> bool:
        """Every rank was told what the batch of `step` is now; True for one that is committed."""
        if step < self._account.step:
            return True
        return self._due(step) is not None and 0 < len(self._told) == len(self._shares)

    def check(self, step: int) -> None:
        """Raise RunError unless all ranks have trained on what the batch of `step` is now."""
        if not self.is_dealt(step):
            raise RunError(
                f"the batch of step {step} was dealt by an earlier start of the ledger, or has "
                "changed since: go on from the last checkpoint"
            )

    def parts(self) -> set[str]:
        """Names of the parts of the traces that the last batch is in."""
        groups = () if self._batch is None else self._batch.groups
        return {part_name(group.index) for group in groups}

    def dealt(self, ids: Iterable[str]) -> list[EpisodeSpec]:
        """Those of these episodes that ranks were told of."""
        groups = self._batch.groups if self._batch is not None and self._told else ()
        specs = {spec.id: spec for group in groups for spec in group.specs}
        return [specs[key] for key in ids if key in specs]

    @property
    def given(self) -> tuple[EpisodeSpec, ...]:
        """All that ranks were told to train on, as often as one was."""
        return tuple(spec for share in self._told.values() for spec in share)

    def committed(self) -> None:
        """The step is trained; the next one is due."""
        self._batch, self._shares, self._told = None, (), {}
