"""The account of a training run's groups: from admission to trained in a committed checkpoint.

Pure: no Ray, no clock. `cluster.ledger` keeps the account of the attempts at single episodes.

    admit ──► playing ──► finished ──batch──► batched ──committed──► trained
               │   ▲          │ lost             │ lost
               │   └──────────┴──────────────────┘
               └── failed, or judged in vain ──► dropped (why): one more group is let in

A step is one batch, one commit and one new version: version v is the adapter after v steps.

Why no batch holds a turn older than step - max_staleness. At version v a group is admitted only
while the open ones, itself among them, fill no more than the v + max_staleness + 1 - step batches
from this step to step v + max_staleness, so each has a place in time; to drop or to train a group
only makes room. And a batch is formed only if every open group that it leaves out still has such
a place in the batches after it (`cluster.training.batches.choose`).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic

from cluster.training.batches import Facts, Finished, Group, choose
from cluster.training.drops import Drops
from cluster.training.setup import GroupSetup
from cluster.types import EpisodeSpec


class Groups(Generic[Facts]):
    """The state machine. Open groups are those admitted and neither dropped nor trained."""

    def __init__(self, setup: GroupSetup, judge: Callable[[Sequence[Facts]], str]) -> None:
        """`judge` is asked about each group that is whole: '' or the reason to drop it."""
        self._setup = setup
        self._judge = judge
        self._step = 0
        self._open: dict[int, Group[Facts]] = {}
        self._batch: frozenset[int] = frozenset()
        """Groups handed out for this step; fewer than a batch after one of them was dropped."""
        self._drops = Drops(setup.max_consecutive_drops)
        self._late: set[EpisodeSpec] = set()
        """Being played again, while their groups were trained on what had been lost."""
        self._num_in = 0
        self._bytes_in = 0
        """Of all that came in here."""
        self.num_discarded = 0
        """Episodes that came in, or failed, after their groups were dropped or trained."""

    @property
    def step(self) -> int:
        """Committed steps: the one to be trained next, and the newest version there can be."""
        return self._step

    def open(self) -> Sequence[Group[Facts]]:
        """Those that are neither trained nor dropped."""
        return tuple(self._open.values())

    @property
    def held_bytes(self) -> int:
        """Of finished episodes that are not trained yet."""
        return sum(one.num_bytes for group in self._open.values() for one in group.played.values())

    @property
    def _is_full(self) -> bool:
        """With what is being played, if it is like what came in so far."""
        num_missing = sum(group.num_missing for group in self._open.values())
        expected = num_missing * self._bytes_in / max(self._num_in, 1)
        return self.held_bytes + expected >= self._setup.max_held_bytes

    def admit(self, version: int) -> list[Group[Facts]]:
        """Let in what may be played now, with `version`: the one that new episodes will get.

        Raises:
            ValueError: there is no such version yet.
        """
        self._check(version)
        setup = self._setup
        num_batches = min(version + setup.max_staleness + 1, setup.num_steps) - self._step
        most = setup.groups_per_step * num_batches
        admitted: list[Group[Facts]] = []
        while len(self._open) < most:
            if len(self._open) >= setup.groups_per_step and self._is_full:
                break  # one batch must be had, or no step would ever make room
            index = self._num_admitted
            self._open[index] = Group(index=index, version=version, specs=setup.specs(index))
            admitted.append(self._open[index])
        return admitted

    def finished(
        self, spec: EpisodeSpec, version: int, num_bytes: int, facts: Facts
    ) -> tuple[EpisodeSpec, ...]:
        """An episode came in, `version` being its oldest turn's.

        Returns:
            Episodes that are no longer wanted: data to be let go, plays that may be given up.

        Raises:
            ValueError: unknown, in already, or of a version that its group cannot have.
            RunError: too many groups in a row were dropped.
        """
        group = self._expecting(spec)
        if group is None:
            return (spec,)
        self._check(version)
        if version < group.version:
            raise ValueError(f"{spec.id} has version {version}, admitted at {group.version}")
        self._num_in += 1
        self._bytes_in += num_bytes
        played = Finished(spec=spec, version=version, num_bytes=num_bytes, facts=facts)
        group = replace(group, played=group.played | {spec: played})
        if group.is_ready:
            reason = self._judge([played.facts for played in group.episodes])
            if reason:
                return self._drop(group, reason)
            self._drops.end_row()
        self._open[group.index] = group
        return ()

    def failed(self, spec: EpisodeSpec, reason: str) -> tuple[EpisodeSpec, ...]:
        """An episode will not come in: its group is dropped. Returns and raises as `finished`."""
        group = self._expecting(spec)
        return (spec,) if group is None else self._drop(group, reason)

    def lost(self, spec: EpisodeSpec) -> bool:
        """What had come in is gone. True: to be played again, and its group is waited for.

        Raises:
            ValueError: the episode is unknown or had not come in.
        """
        group = self._open.get(self._index(spec))
        if group is None:
            return False
        if spec not in group.played:
            raise ValueError(f"{spec.id} is lost, but had not come in")
        kept = {other: played for other, played in group.played.items() if other != spec}
        self._open[group.index] = replace(group, played=kept)
        return True

    def batch(self, step: int) -> Sequence[Group[Facts]] | None:
        """What to train in `step`, oldest group first; None while it is to be waited for.

        Asked again, it gives the same groups, until the step is committed. If one of them is lost
        and then dropped, the others stay and another takes its place.

        Raises:
            ValueError: another step is due.
        """
        setup = self._setup
        if step != self._step or step >= setup.num_steps:
            raise ValueError(f"step {step} is not due: {self._step} of {setup.num_steps} are done")
        chosen = choose(
            self._open.values(), self._batch, step, setup.groups_per_step, setup.max_staleness
        )
        if chosen is None:
            return None
        for played in (played for group in chosen for played in group.episodes):
            if not 0 <= step - played.version <= setup.max_staleness:
                raise ValueError(f"{played.spec.id} of version {played.version} in step {step}")
        self._batch = frozenset(group.index for group in chosen)
        return chosen

    def committed(self, step: int) -> bool:
        """The checkpoint after `step` is in place. False: that was known.

        Raises:
            ValueError: no batch was handed out for this step.
        """
        if step < self._step:
            return False
        self._check_batch(step)
        for index in self._batch:
            self._late.update(self._open.pop(index).missing)
        self._batch = frozenset()
        self._step += 1
        return True

    def counts(self) -> dict[str, int]:
        """How many episodes are in each state; together, those admitted."""
        size = self._setup.group_size
        counts = Counter(playing=0, finished=0, batched=0)
        for group in self._open.values():
            counts["playing"] += group.num_missing
            counts["batched" if group.index in self._batch else "finished"] += len(group.played)
        trained = self._step * self._setup.groups_per_step
        return {**counts, "trained": trained * size, "dropped": len(self._drops) * size}

    def drops(self) -> dict[str, int]:
        """Why groups were dropped, and how many."""
        return self._drops.counts()

    def snapshot(self, version: int) -> dict[str, Any]:
        """The account that belongs into the checkpoint of `version`, for JSON.

        A checkpoint is in place before its step is committed here, so `version` may be one more
        than the committed steps: then the batch that was handed out counts as trained.

        Raises:
            ValueError: another version, or no batch was handed out.
        """
        if version != self._step:
            self._check_batch(version - 1)
        trained = self._batch if version > self._step else frozenset()
        return {
            "step": version,
            "open": [[g.index, g.version] for g in self._open.values() if g.index not in trained],
            "drops": self._drops.snapshot(),
            "num_discarded": self.num_discarded,
        }

    @classmethod
    def restore(
        cls,
        setup: GroupSetup,
        judge: Callable[[Sequence[Facts]], str],
        snapshot: Mapping[str, Any],
    ) -> "Groups[Facts]":
        """The account of a snapshot. Nothing of its open groups has come in; see `reopen`."""
        groups = cls(setup, judge)
        groups._step = snapshot["step"]
        for index, version in snapshot["open"]:
            specs = setup.specs(index)
            groups._open[index] = Group(index=index, version=version, specs=specs)
        groups._drops.restore(snapshot["drops"])
        groups.num_discarded = snapshot["num_discarded"]
        return groups

    def reopen(self, version: int) -> list[Group[Facts]]:
        """After `restore`: what is still to be played, with `version`.

        Traces that are at hand may be given to `finished` before. A group of which nothing has
        come in counts as admitted at this version.

        Raises:
            ValueError: there is no such version yet.
        """
        self._check(version)
        for group in tuple(self._open.values()):
            if not group.played:
                raised = max(group.version, version)
                self._open[group.index] = replace(group, version=raised)
        return [group for group in self._open.values() if not group.is_ready]

    def _drop(self, group: Group[Facts], reason: str) -> tuple[EpisodeSpec, ...]:
        del self._open[group.index]
        self._batch -= {group.index}
        self._drops.add(group.index, reason)
        return group.specs

    def _expecting(self, spec: EpisodeSpec) -> Group[Facts] | None:
        """The open group that this episode is missing in; None where it comes too late."""
        index = self._index(spec)
        group = self._open.get(index)
        if group is None:
            if index not in self._drops and spec not in self._late:
                raise ValueError(f"{spec.id} came in again: its group is trained")
            self._late.discard(spec)
            self.num_discarded += 1
        elif spec in group.played:
            raise ValueError(f"{spec.id} came in twice")
        return group

    def _index(self, spec: EpisodeSpec) -> int:
        if spec.seed in self._setup.seeds:
            index = self._setup.index(spec)
            if index < self._num_admitted:
                return index
        raise ValueError(f"{spec.id} was never admitted")

    @property
    def _num_admitted(self) -> int:
        trained = self._step * self._setup.groups_per_step
        return trained + len(self._open) + len(self._drops)

    def _check(self, version: int) -> None:
        if not 0 <= version <= self._step:
            raise ValueError(f"there is no version {version} after {self._step} steps")

    def _check_batch(self, step: int) -> None:
        if step != self._step or len(self._batch) < self._setup.groups_per_step:
            raise ValueError(f"no batch was handed out for step {step}; {self._step} is due")
