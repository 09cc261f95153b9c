"""The account of groups under any order of events, beside a plain model of what it should say."""

import itertools
import json
import random
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cluster.training.batches import Group
from cluster.training.groups import Groups
from cluster.training.setup import GroupSetup
from cluster.types import EpisodeSpec

NUM_STEPS = 5
EVENTS = ("serve", "admit", "begin", "begin", "come in", "train", "train", "lose", "fail")
GROUP_SIZE = 2
CHANCES = st.integers(0, 2**16).map(random.Random)
"""Many choices at once: drawn one by one they would hardly ever get to a commit."""


def zero_variance(rewards: Sequence[float]) -> str:
    return "zero variance" if len(set(rewards)) == 1 else ""


class AnyOrder(RuleBasedStateMachine):
    """Episodes come in in any order, fail, get lost; the learner and the driver are killed."""

    @initialize(
        num_seeds=st.integers(1, 3),
        groups_per_step=st.integers(1, 3),
        max_staleness=st.integers(0, 3),
        max_held_bytes=st.sampled_from((1, 6, 1000)),
        suffering=st.sampled_from((0.0, 0.1, 0.5)),
        chance=CHANCES,
    )
    def begin(
        self,
        num_seeds: int,
        groups_per_step: int,
        max_staleness: int,
        max_held_bytes: int,
        suffering: float,
        chance: random.Random,
    ) -> None:
        self.suffering, self.chance = suffering, chance
        self.setup = GroupSetup(
            seeds=tuple(range(10, 10 + num_seeds)),
            group_size=GROUP_SIZE,
            groups_per_step=groups_per_step,
            num_steps=NUM_STEPS,
            max_staleness=max_staleness,
            max_held_bytes=max_held_bytes,
            max_consecutive_drops=10**6,
        )
        self.groups = Groups[float](self.setup, zero_variance)
        self.served = 0
        self.came: list[int] = []
        """Bytes of each that came in since the start or the last restart."""
        self.open: dict[int, int] = {}
        """Version at admission, by index."""
        self.num_admitted = 0
        self.num_dropped = 0
        self.under_way: dict[EpisodeSpec, int | None] = {}
        """The version that each is played with, once it is begun; those of dropped groups too."""
        self.inside: dict[EpisodeSpec, tuple[int, int, float]] = {}
        """Version, bytes and reward of each that came in, of open groups."""
        self.handed: Sequence[Group[float]] | None = None
        """The last batch, for as long as it must stay."""
        self.trained: list[list[EpisodeSpec]] = []
        """By committed step."""
        self.checkpoint: tuple[str, int] = (json.dumps(self.groups.snapshot(0)), 0)
        """A snapshot, and the number of its steps."""

    # Admission and play

    @rule(chance=CHANCES)
    def a_version_is_served(self, chance: random.Random) -> None:
        self.served = max(self.served, self.groups.step - chance.choice((0, 0, 1, 2)))

    @rule()
    def some_are_admitted(self) -> None:
        admitted = self.groups.admit(self.served)
        for group in admitted:
            assert group.index == self.num_admitted
            self.num_admitted += 1
            self.open[group.index] = self.served
            self.under_way |= dict.fromkeys(group.specs)
        size, step = self.setup.groups_per_step, len(self.trained)
        newest = min(self.served + self.setup.max_staleness + 1, NUM_STEPS)
        num_undropped = self.num_admitted - self.num_dropped
        if admitted:
            assert num_undropped <= newest * size
        if self.expected_bytes < self.setup.max_held_bytes:
            assert num_undropped >= newest * size
        else:
            assert len(self.open) >= min(size, newest * size - step * size)
            before = self.expected_bytes - GROUP_SIZE * self.mean_bytes
            is_room = before < self.setup.max_held_bytes
            assert not admitted or len(self.open) <= size or is_room

    @precondition(lambda self: None in self.under_way.values())
    @rule(chance=CHANCES)
    def some_are_begun(self, chance: random.Random) -> None:
        waiting = [spec for spec, version in self.under_way.items() if version is None]
        for spec in chance.sample(waiting, chance.randint(1, len(waiting))):
            self.under_way[spec] = self.served

    @precondition(lambda self: self.begun)
    @rule(chance=CHANCES)
    def some_come_in(self, chance: random.Random) -> None:
        for spec in chance.sample(self.begun, chance.randint(1, len(self.begun))):
            reward = chance.choice((0, spec.sample, spec.sample, spec.sample))
            self.comes_in(spec, chance.randint(0, 3), reward)

    def comes_in(self, spec: EpisodeSpec, num_bytes: int, reward: float) -> None:
        version = self.under_way.pop(spec)
        assert version is not None
        index = self.setup.index(spec)
        self.came += [num_bytes] if index in self.open else []
        unwanted = self.groups.finished(spec, version, num_bytes, reward)
        if index not in self.open:
            assert unwanted == (spec,)
            return
        self.inside[spec] = (version, num_bytes, reward)
        rewards = [self.inside[one][2] for one in self.setup.specs(index) if one in self.inside]
        if len(rewards) == GROUP_SIZE and zero_variance(rewards):
            assert unwanted == self.setup.specs(index)
            self.drop(index)
        else:
            assert unwanted == ()

    @precondition(lambda self: self.under_way)
    @rule(chance=CHANCES)
    def one_fails(self, chance: random.Random) -> None:
        spec = chance.choice(tuple(self.under_way))
        del self.under_way[spec]
        index = self.setup.index(spec)
        unwanted = self.groups.failed(spec, "its worker died")
        if index in self.open:
            assert unwanted == self.setup.specs(index)
            self.drop(index)
        else:
            assert unwanted == (spec,)

    def drop(self, index: int) -> None:
        del self.open[index]
        self.num_dropped += 1
        for spec in self.setup.specs(index):
            self.inside.pop(spec, None)

    @precondition(lambda self: self.inside)
    @rule(chance=CHANCES)
    def one_is_lost(self, chance: random.Random) -> None:
        spec = chance.choice(tuple(self.inside))
        assert self.groups.lost(spec)
        del self.inside[spec]
        self.under_way[spec] = None

    @precondition(lambda self: self.trained)
    @rule(chance=CHANCES)
    def one_is_lost_after_training(self, chance: random.Random) -> None:
        assert not self.groups.lost(chance.choice(self.all_trained))

    # Training

    @precondition(lambda self: len(self.trained) < NUM_STEPS)
    @rule()
    def a_batch_is_asked_for(self) -> None:
        size, step = self.setup.groups_per_step, len(self.trained)
        batch = self.groups.batch(step)
        if batch is None:
            everything_is_in = len(self.inside) == GROUP_SIZE * len(self.open)
            assert not (everything_is_in and len(self.open) >= size)
            return
        indices = {group.index for group in batch}
        assert len(batch) == len(indices) == size
        if self.handed is not None:
            assert {group.index for group in self.handed} & set(self.open) <= indices
        for group in batch:
            assert group.version == self.open[group.index]
            assert 0 <= step - group.version <= self.setup.max_staleness
            for played in group.episodes:
                facts = (played.version, played.num_bytes, played.facts)
                assert facts == self.inside[played.spec]
                assert 0 <= step - played.version <= self.setup.max_staleness
        left = [version for index, version in self.open.items() if index not in indices]
        for last in range(step, NUM_STEPS):
            num_due = sum(version + self.setup.max_staleness <= last for version in left)
            assert num_due <= (last - step) * size
        self.handed = batch

    @precondition(lambda self: self.may_commit)
    @rule(is_told=st.booleans(), chance=CHANCES)
    def a_checkpoint_is_written(self, is_told: bool, chance: random.Random) -> None:
        """And the ledger is told, unless everything is killed in between."""
        step = len(self.trained)
        assert self.handed is not None
        snapshot = self.groups.snapshot(step + 1)
        self.checkpoint = json.dumps(snapshot), step + 1
        if is_told:
            self.the_step_is_committed()
            assert self.groups.snapshot(step + 1) == snapshot
        else:
            self.trained.append([spec for group in self.handed for spec in group.specs])
            self.everything_is_killed(chance)
        assert not self.groups.committed(step)

    def the_step_is_committed(self) -> None:
        assert self.handed is not None
        assert self.groups.committed(len(self.trained))
        self.trained.append([spec for group in self.handed for spec in group.specs])
        for group in self.handed:
            del self.open[group.index]
        for spec in self.trained[-1]:
            self.inside.pop(spec, None)
        self.handed = None

    @rule(chance=CHANCES)
    def everything_is_killed(self, chance: random.Random) -> None:
        """The last checkpoint is read; some traces of open groups are at hand."""
        text, num_steps = self.checkpoint
        at_hand, self.inside, self.under_way = self.inside, {}, {}
        self.groups = Groups[float].restore(self.setup, zero_variance, json.loads(text))
        assert json.dumps(self.groups.snapshot(num_steps)) == text
        del self.trained[num_steps:]
        self.handed = None
        self.came = []
        self.open = dict(json.loads(text)["open"])
        self.num_dropped = sum(self.groups.drops().values())
        self.num_admitted = num_steps * self.setup.groups_per_step + self.num_dropped
        self.num_admitted += len(self.open)
        self.served = max((max(0, num_steps - chance.randint(0, 2)), *self.open.values()))
        for spec, (version, num_bytes, reward) in at_hand.items():
            is_wanted = version >= self.open.get(self.setup.index(spec), NUM_STEPS)
            if is_wanted and version <= num_steps and chance.random() < 0.5:
                self.under_way[spec] = version
                self.comes_in(spec, num_bytes, reward)
        for group in self.groups.reopen(self.served):
            assert group.version >= self.open[group.index]
            if len(group.missing) == GROUP_SIZE:
                assert group.version == self.served
            self.open[group.index] = group.version
            self.under_way |= dict.fromkeys(group.missing)

    @rule(chance=CHANCES, num_events=st.integers(1, 40))
    def the_run_goes_on(self, chance: random.Random, num_events: int) -> None:
        """Much of what a healthy run does, in any order, and now and then what it suffers."""
        for _ in range(num_events):
            event = chance.choice(EVENTS)
            if event == "serve":
                self.a_version_is_served(chance)
            elif event == "admit":
                self.some_are_admitted()
            elif event == "begin" and None in self.under_way.values():
                self.some_are_begun(chance)
            elif event == "come in" and self.begun:
                self.some_come_in(chance)
            elif event == "train" and self.may_commit and chance.random() < 0.5:
                self.a_checkpoint_is_written(True, chance)
            elif event == "train" and len(self.trained) < NUM_STEPS:
                self.a_batch_is_asked_for()
            elif event == "lose" and self.inside and chance.random() < self.suffering:
                self.one_is_lost(chance)
            elif event == "fail" and self.under_way and chance.random() < self.suffering:
                self.one_fails(chance)
            self.the_states_add_up()
            self.what_was_handed_out_is_reserved()
            self.nothing_is_trained_twice()

    # What must always hold

    @property
    def may_commit(self) -> bool:
        return self.handed is not None and all(group.index in self.open for group in self.handed)

    @property
    def begun(self) -> list[EpisodeSpec]:
        return [spec for spec, version in self.under_way.items() if version is not None]

    @property
    def all_trained(self) -> list[EpisodeSpec]:
        return list(itertools.chain.from_iterable(self.trained))

    @property
    def mean_bytes(self) -> float:
        return sum(self.came) / max(len(self.came), 1)

    @property
    def expected_bytes(self) -> float:
        """Once all that is admitted has come in, if it is like what came in before."""
        num_missing = GROUP_SIZE * len(self.open) - len(self.inside)
        return self.held_bytes + num_missing * self.mean_bytes

    @property
    def held_bytes(self) -> int:
        return sum(num_bytes for _, num_bytes, _ in self.inside.values())

    @invariant()
    def the_states_add_up(self) -> None:
        counts = self.groups.counts()
        assert sum(counts.values()) == self.num_admitted * GROUP_SIZE
        assert counts["finished"] + counts["batched"] == len(self.inside)
        assert counts["playing"] == GROUP_SIZE * len(self.open) - len(self.inside)
        assert counts["dropped"] == GROUP_SIZE * self.num_dropped
        assert counts["trained"] == sum(map(len, self.trained))
        assert self.groups.held_bytes == self.held_bytes

    @invariant()
    def what_was_handed_out_is_reserved(self) -> None:
        reserved = [group.index for group in self.handed or () if group.index in self.open]
        inside = [spec for index in reserved for spec in self.setup.specs(index)]
        assert self.groups.counts()["batched"] == len(self.inside.keys() & set(inside))

    @invariant()
    def nothing_is_trained_twice(self) -> None:
        trained = self.all_trained
        assert len(trained) == len(set(trained))
        still_open = {spec for index in self.open for spec in self.setup.specs(index)}
        assert still_open.isdisjoint(trained)

    def teardown(self) -> None:
        """From wherever it stands, the run comes to its end once episodes come in."""
        if not hasattr(self, "groups"):
            return  # Hypothesis gave up before it had drawn a setup.
        self.the_run_goes_on(self.chance, 150)
        rewards = itertools.count(1000)
        while len(self.trained) < NUM_STEPS:
            self.served = self.groups.step
            self.some_are_admitted()
            for spec, version in tuple(self.under_way.items()):
                self.under_way[spec] = self.served if version is None else version
                self.comes_in(spec, 1, next(rewards))
            self.a_batch_is_asked_for()
            assert self.handed is not None
            self.the_step_is_committed()
            self.the_states_add_up()
            self.nothing_is_trained_twice()
        assert self.groups.admit(self.groups.step) == []
        assert self.groups.held_bytes == 0


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
