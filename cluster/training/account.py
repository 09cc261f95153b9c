"""The account of a training run's play, in the versions that are served. Pure.

`cluster.training.groups` counts versions as committed steps. Everywhere else 0 is the base model,
and the version that s steps have made is s + 1: `_FIRST` is the one place that knows both.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cluster.credit import Credit, Played
from cluster.trace_writer import Part
from cluster.training.batches import Group
from cluster.training.figures import Mishaps, credit_in
from cluster.training.groups import Groups
from cluster.training.setup import Books, GroupSetup
from cluster.training.tally import Tally
from cluster.types import Ending, EpisodeSpec

Judge = Callable[[Sequence[Credit]], str]
"""Asked about a whole group: '' or why nothing can be learned from it."""

_FIRST: Final = 1
"""The version before the first step."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows from an episode's end."""

    unwanted: tuple[EpisodeSpec, ...]
    """Episodes that need not be played any more."""
    part: Part | None
    """To be written: a group that is whole, or of one that is dropped what came in."""


class TrainingAccount:
    """What came in and what it is good for; holds the trajectories of open groups."""

    def __init__(
        self, setup: GroupSetup, judge: Judge, snapshot: Mapping[str, Any] | None = None
    ) -> None:
        """`snapshot`: of the last committed step, made by an earlier start."""

        def judged(group: Sequence[Played]) -> str:
            return judge([credit_in(played) for played in group])

        self._setup = setup
        self._groups: Groups[Played] = (
            Groups(setup, judged) if snapshot is None else Groups.restore(setup, judged, snapshot)
        )
        self._held: dict[EpisodeSpec, Any] = {}
        self._tally = Tally(setup.index, None if snapshot is None else snapshot["tally"])

    @property
    def step(self) -> int:
        """Committed steps: the one to be trained next."""
        return self._groups.step

    @property
    def newest(self) -> int:
        """The newest version that there can be."""
        return self._groups.step + _FIRST

    def counts(self) -> dict[str, int]:
        """How many episodes are in each state; together, those admitted."""
        return self._groups.counts()

    def books(self) -> Books:
        """What became of the episodes so far."""
        counts, tally = self._groups.counts(), self._tally
        ended = tally.num_trained + counts["dropped"]
        under_way = counts["playing"] + counts["finished"] + counts["batched"]
        return Books(
            num_steps=self._setup.num_steps,
            step=self.step,
            asked=tally.num_asked,
            trained=tally.num_trained,
            dropped=counts["dropped"],
            lost=tally.num_asked - ended - under_way,
            doubled=tally.num_doubled,
        )

    def mishaps(self, num_replayed: int) -> Mishaps:
        """So far, with what is not known here."""
        return Mishaps(
            drops=self._groups.drops(),
            num_discarded=self._groups.num_discarded,
            num_replayed=num_replayed,
        )

    # Groups: index -> the oldest version that a turn of it may have

    def admit(self, version: int) -> dict[int, int]:
        """Let in what may be played now, while `version` is served."""
        admitted = self._groups.admit(version - _FIRST)
        self._tally.let_in(sum(len(group.specs) for group in admitted))
        return _versions(admitted)

    def reopen(self, version: int) -> dict[int, int]:
        """After a restart: what is still to be played, while `version` is served."""
        return _versions(self._groups.reopen(version - _FIRST))

    def open(self) -> dict[int, int]:
        """Those that are neither trained nor dropped."""
        return _versions(self._groups.open())

    def missing(self, index: int) -> tuple[EpisodeSpec, ...]:
        """The episodes of a group that are not held."""
        return tuple(spec for spec in self._setup.specs(index) if spec not in self._held)

    def index(self, spec: EpisodeSpec) -> int:
        """The group of an episode."""
        return self._setup.index(spec)

    # Episodes

    def is_usable(self, played: Played, oldest: int) -> bool:
        """Whether what an earlier start played may stand in a group of version `oldest`."""
        credit = played.credit
        fits = credit is not None and oldest <= credit.oldest_version <= self.newest
        return fits and not _flaw(played)

    def came_in(self, played: Played, trajectory: Any) -> Outcome:
        """An episode has been played; `trajectory` is held as long as it is wanted.

        Raises:
            RunError: too many groups in a row were dropped.
        """
        spec = played.summary.spec
        self._held[spec] = trajectory
        flaw = _flaw(played)
        if flaw:
            return self.failed(spec, flaw)
        credit = credit_in(played)
        version = credit.oldest_version - _FIRST
        unwanted = self._groups.finished(spec, version, credit.num_bytes, played)
        return self._outcome(spec, unwanted)

    def failed(self, spec: EpisodeSpec, reason: str) -> Outcome:
        """An episode will not come in. Raises as `came_in`."""
        return self._outcome(spec, self._groups.failed(spec, reason))

    def lost(self, specs: Iterable[EpisodeSpec]) -> list[EpisodeSpec]:
        """Trajectories that were held are gone; returns those that are to be had again."""
        gone = [spec for spec in specs if self._held.pop(spec, None) is not None]
        return [spec for spec in gone if self._groups.lost(spec)]

    def trajectory(self, spec: EpisodeSpec) -> Any:
        """What is held of an episode."""
        return self._held[spec]

    def _outcome(self, spec: EpisodeSpec, unwanted: tuple[EpisodeSpec, ...]) -> Outcome:
        index = self._setup.index(spec)
        group = self._setup.specs(index)
        held = tuple(one for one in group if one in self._held)
        trajectories = tuple(self._held[one] for one in held)
        for one in unwanted:
            self._held.pop(one, None)
        is_closed = held and group in (held, unwanted)
        part = Part(name=part_name(index), specs=held, trajectories=trajectories)
        return Outcome(unwanted, part if is_closed else None)

    # Training

    def batch(self, step: int) -> Sequence[Group[Played]] | None:
        """What to train in `step`; None while it is to be waited for.

        Raises:
            ValueError: that step is trained already, or never will be.
        """
        if step == self.step + 1 < self._setup.num_steps:
            return None  # the step before it is about to be committed
        return self._groups.batch(step)

    def snapshot(self, step: int, given: Sequence[EpisodeSpec]) -> dict[str, Any]:
        """The account as if `step` were committed, for JSON; `given` as in `committed`."""
        trained = given if step == self.step else ()
        return {**self._groups.snapshot(step + 1), "tally": self._tally.snapshot(trained)}

    def committed(self, step: int, given: Sequence[EpisodeSpec]) -> bool:
        """The checkpoint after `step` is in place: its trajectories are let go. False: known.

        `given` are the episodes that ranks trained on, as often as one did.
        """
        if not self._groups.committed(step):
            return False
        self._tally.trained(given)
        opened = self.open()
        self._held = {spec: ref for spec, ref in self._held.items() if self.index(spec) in opened}
        return True


def part_name(index: int) -> str:
    """A group's part of the traces: played again, it replaces what an earlier start wrote."""
    return f"group-{index:06d}"


def _versions(groups: Iterable[Group[Played]]) -> dict[int, int]:
    return {group.index: group.version + _FIRST for group in groups}


def _flaw(played: Played) -> str:
    """Why an episode can't be trained on, if so."""
    summary = played.summary
    if summary.ending is Ending.ERROR:
        return f"an episode ended in error: {summary.error}"
    return "" if summary.num_turns else "an episode ended without a decision"
