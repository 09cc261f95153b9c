"""Which decisions are learned from, and in which update: the same for every rank."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learners.rl.plan import Place, lessons_of, updates_of

ADVANTAGES = [[np.array([1.0, -2.0, 0.5]), np.array([3.0])], [np.array([0.0, -1.0])]]
PLACES = [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0), (1, 0, 0), (1, 0, 1)]


def updates(minibatch_size: int = 4, seed: int = 0, step: int = 0) -> list[list[Place]]:
    return updates_of([(0, 0, turn) for turn in range(9)], minibatch_size, seed, step)


def test_every_decision_comes_once() -> None:
    told = sorted(place for update in updates() for place in update)
    assert told == [(0, 0, turn) for turn in range(9)]


def test_there_are_as_few_updates_as_there_must_be_of_nearly_one_size() -> None:
    assert [len(update) for update in updates(minibatch_size=4)] == [3, 3, 3]
    assert [len(update) for update in updates(minibatch_size=8)] == [5, 4]
    assert [len(update) for update in updates(minibatch_size=9)] == [9]


def test_the_order_follows_from_seed_and_step() -> None:
    assert updates(seed=1, step=2) == updates(seed=1, step=2)
    assert updates(seed=1, step=2) != updates(seed=1, step=3)
    assert updates(seed=1, step=2) != updates(seed=2, step=2)


def test_of_all_decisions_each_has_its_own_advantage() -> None:
    told = lessons_of(ADVANTAGES, 1.0, seed=0, step=0)
    assert told == dict(zip(PLACES, [1.0, -2.0, 0.5, 3.0, 0.0, -1.0], strict=True))


def test_half_of_them_are_drawn_by_size() -> None:
    """Sizes 1, 2, 0.5, 3, 0.3125 (a quarter of the mean, 1.25) and 1 make 7.8125. Three of six are
    drawn, so 3 in 7.8125 would be above 1: it is sure, and 2 is left for the 4.8125 of the others.
    """
    chances = np.array([1, 2, 0.5, 0, 0.3125, 1]) * 2 / 4.8125
    chances[3] = 1.0
    counts: Counter[Place] = Counter()
    values: dict[Place, float] = {}
    for step in range(4000):
        told = lessons_of(ADVANTAGES, 0.5, seed=0, step=step)
        assert len(told) == 3
        counts.update([*told])
        values |= told
    assert [counts[place] / 4000 for place in PLACES] == pytest.approx(chances, abs=0.03)
    # What stands for an advantage is it, times 0.5 over its chance.
    alone = np.array([1.0, -2.0, 0.5, 3.0, 0.0, -1.0])
    assert [values[place] for place in PLACES] == pytest.approx(alone * 0.5 / chances)


@given(
    # Advantages are scaled, or exact zeros; the product of a subnormal one may be zero.
    st.lists(st.floats(-3, 3, allow_subnormal=False), min_size=1, max_size=40),
    st.floats(0.01, 1),
    st.integers(0, 10**6),
)
def test_the_sum_is_expected_to_be_that_of_all(
    values: list[float], fraction: float, step: int
) -> None:
    """Sure ones are certain to be there, and of the others as many as were asked for, or one more
    or less."""
    told = lessons_of([[np.array(values)]], fraction, seed=0, step=step)
    asked = max(fraction * len(values), 1)
    assert np.floor(asked - 1e-6) <= len(told) <= np.ceil(asked + 1e-6)
    assert all(np.sign(value) == np.sign(values[turn]) for (_, _, turn), value in told.items())
    assert list(told) == sorted(told)
