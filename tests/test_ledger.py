"""The ledger's account: worked examples, then any order of events."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.ledger import Attempt, Ledger
from cluster.types import EpisodeSpec

SPECS = tuple(EpisodeSpec(seed=seed) for seed in range(4))


def started(ledger: Ledger, worker: int = 0, now: float = 0.0) -> Attempt:
    attempt = ledger.start(worker, now)
    assert attempt is not None
    return attempt


def test_an_episode_goes_from_pending_to_finished() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=1)
    attempt = started(ledger)
    assert ledger.result(attempt)
    assert ledger.counts() | {"played": 1} == ledger.counts()
    ledger.durable([attempt.spec])
    assert ledger.counts()["finished"] == 1
    assert ledger.is_settled


def test_a_lost_attempt_is_started_again() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=2)
    ledger.lost(started(ledger), "its worker died")
    assert started(ledger, worker=1).number == 1
    assert ledger.num_replayed == 1


def test_after_max_attempts_an_episode_is_dropped_with_its_reasons() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=2)
    ledger.lost(started(ledger), "first")
    ledger.lost(started(ledger), "second")
    assert ledger.dropped() == {SPECS[0].id: ("first", "second")}
    assert ledger.is_settled


def test_an_overdue_episode_goes_to_another_worker_only() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=3, timeout_s=10.0)
    first = started(ledger, worker=0, now=0.0)
    assert ledger.expire(now=9.9) == []
    assert ledger.expire(now=10.0) == [first]
    assert ledger.start(worker=0, now=11.0) is None
    assert started(ledger, worker=1, now=11.0).number == 1


def test_a_decision_gives_an_episode_its_time_anew() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=3, timeout_s=10.0)
    attempt = started(ledger, now=0.0)
    ledger.progressed(attempt, now=9.0)
    assert ledger.expire(now=18.9) == []
    assert ledger.expire(now=19.0) == [attempt]


def test_the_first_result_counts_and_the_second_is_discarded() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=3, timeout_s=10.0)
    slow = started(ledger, worker=0, now=0.0)
    ledger.expire(now=10.0)
    quick = started(ledger, worker=1, now=11.0)
    assert ledger.result(quick)
    assert not ledger.result(slow)
    assert ledger.num_duplicates == 1
    assert ledger.counts()["played"] == 1


def test_a_late_result_takes_its_episode_back_from_the_pending() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=3, timeout_s=10.0)
    slow = started(ledger, worker=0, now=0.0)
    ledger.expire(now=10.0)
    assert ledger.result(slow)
    assert ledger.start(worker=1, now=12.0) is None


def test_a_lost_result_is_played_again() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=2)
    attempt = started(ledger)
    ledger.result(attempt)
    ledger.result_lost([attempt.spec], "its object was lost")
    assert ledger.counts()["pending"] == 1


def test_more_episodes_can_be_asked_for_at_any_time() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=1)
    attempt = started(ledger)
    ledger.result(attempt)
    ledger.durable([attempt.spec])
    ledger.ask(SPECS[1:3])
    assert ledger.counts()["pending"] == 2
    assert not ledger.is_settled
    assert [started(ledger).spec, started(ledger).spec] == list(SPECS[1:3])


def test_an_episode_is_asked_for_once() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=1)
    with pytest.raises(ValueError, match="asked for before"):
        ledger.ask(SPECS[:1])


def test_what_is_asked_for_first_goes_before_all_that_wait() -> None:
    ledger = Ledger(SPECS[:2], max_attempts=1)
    ledger.ask(SPECS[2:4], first=True)
    assert [started(ledger).spec for _ in range(3)] == [SPECS[2], SPECS[3], SPECS[0]]


def test_what_is_forgotten_is_not_started() -> None:
    ledger = Ledger(SPECS[:2], max_attempts=1)
    ledger.forget(SPECS[:1])
    assert started(ledger).spec == SPECS[1]
    assert sum(ledger.counts().values()) == 1


def test_what_is_forgotten_under_way_may_come_in_once() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=3, timeout_s=10.0)
    slow = started(ledger, worker=0, now=0.0)
    ledger.expire(now=10.0)
    quick = started(ledger, worker=1, now=11.0)
    ledger.forget(SPECS[:1])
    assert ledger.result(quick)
    assert not ledger.result(slow)
    assert sum(ledger.counts().values()) == 0


def test_what_is_forgotten_is_not_tried_again_when_it_is_lost() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=3)
    attempt = started(ledger)
    ledger.forget(SPECS[:1])
    ledger.lost(attempt, "its worker died")
    assert ledger.start(worker=1, now=0.0) is None


def test_what_is_forgotten_can_be_asked_for_again() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=3, timeout_s=10.0)
    slow = started(ledger, worker=0, now=0.0)
    ledger.expire(now=10.0)
    ledger.result(started(ledger, worker=1, now=11.0))
    ledger.forget(SPECS[:1])
    ledger.ask(SPECS[:1])
    assert ledger.start(worker=0, now=12.0) is None  # that one still plays it
    again = started(ledger, worker=1, now=12.0)
    assert ledger.result(slow)
    assert not ledger.result(again)


def test_what_is_asked_for_again_has_all_its_attempts_anew() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=2)
    ledger.lost(started(ledger), "before")
    slow = started(ledger, worker=1)
    ledger.forget(SPECS[:1])
    ledger.ask(SPECS[:1])
    ledger.lost(slow, "meanwhile")
    ledger.lost(started(ledger), "first")
    ledger.lost(started(ledger), "second")
    assert ledger.dropped() == {SPECS[0].id: ("meanwhile", "first", "second")}


def test_dropped_episodes_are_taken_once() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=2)
    ledger.lost(started(ledger), "first")
    ledger.lost(started(ledger), "second")
    assert ledger.take_dropped() == [(SPECS[0], "first; second")]
    assert ledger.take_dropped() == []


def test_an_attempt_can_end_only_once() -> None:
    ledger = Ledger(SPECS[:1], max_attempts=2)
    attempt = started(ledger)
    ledger.result(attempt)
    with pytest.raises(ValueError, match="not under way"):
        ledger.lost(attempt, "twice")


class AnyOrder(RuleBasedStateMachine):
    """Workers die, dawdle, return twice; results get lost. The account must hold throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(SPECS, max_attempts=3, timeout_s=5.0)
        self.now = 0.0
        self.under_way: list[Attempt] = []
        self.held: list[EpisodeSpec] = []
        self.written: list[EpisodeSpec] = []
        self.forgotten: dict[EpisodeSpec, bool] = {}
        """Whether each had been in when it was forgotten."""

    @rule(worker=st.integers(0, 2))
    def start(self, worker: int) -> None:
        attempt = self.ledger.start(worker, self.now)
        if attempt is not None:
            assert attempt.spec not in self.held + self.written + list(self.forgotten)
            assert not any(
                other.spec == attempt.spec and other.worker == worker for other in self.under_way
            )
            self.under_way.append(attempt)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def comes_back(self, data: st.DataObject) -> None:
        attempt = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(attempt)
        accepted = self.ledger.result(attempt)
        if attempt.spec in self.forgotten:
            assert accepted != self.forgotten[attempt.spec]
            self.forgotten[attempt.spec] = True
            return
        assert accepted == (attempt.spec not in self.held + self.written)
        if accepted:
            self.held.append(attempt.spec)

    @rule(spec=st.sampled_from(SPECS))
    def is_forgotten(self, spec: EpisodeSpec) -> None:
        self.ledger.forget([spec])
        was_in = spec in self.held + self.written
        self.forgotten.setdefault(spec, was_in)
        self.held = [held for held in self.held if held != spec]
        self.written = [written for written in self.written if written != spec]

    @precondition(lambda self: self.forgotten)
    @rule(data=st.data(), first=st.booleans())
    def is_asked_for_again(self, data: st.DataObject, first: bool) -> None:
        spec = data.draw(st.sampled_from(list(self.forgotten)))
        self.ledger.ask([spec], first)
        del self.forgotten[spec]

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def is_lost(self, data: st.DataObject) -> None:
        attempt = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(attempt)
        self.ledger.lost(attempt, "lost")

    @rule(seconds=st.floats(0.0, 6.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for attempt in self.ledger.expire(self.now):
            assert attempt in self.under_way

    @precondition(lambda self: self.held)
    @rule(safe=st.booleans())
    def is_written(self, safe: bool) -> None:
        spec = self.held.pop()
        if safe:
            self.ledger.durable([spec])
            self.written.append(spec)
        else:
            self.ledger.result_lost([spec], "object lost")

    @invariant()
    def the_states_add_up(self) -> None:
        counts = self.ledger.counts()
        assert sum(counts.values()) == len(SPECS) - len(self.forgotten)
        assert min(counts.values()) >= 0
        assert counts["finished"] == len(self.written)
        assert counts["played"] == len(self.held)

    @invariant()
    def whatever_is_dropped_has_used_up_its_attempts(self) -> None:
        for reasons in self.ledger.dropped().values():
            assert len(reasons) >= 3

    @invariant()
    def settled_means_nothing_is_open(self) -> None:
        if self.ledger.is_settled:
            assert not self.held
            assert self.ledger.start(worker=99, now=self.now) is None


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
