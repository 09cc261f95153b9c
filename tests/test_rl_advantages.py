"""Credit within a group: worked by hand, and what holds for any group."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.credit import Credit
from learners.rl.advantages import ADVANTAGES, is_flat, returns_to_go

RETURN_ONLY = ("grpo", "dr_grpo")
GAMMA = 0.98


def played(
    *rewards: float, steps: Sequence[int] | None = None, is_terminal: bool = False
) -> Credit:
    """One decision a step where nothing else is said."""
    steps_T = tuple(steps or range(len(rewards)))
    return Credit(rewards_T=rewards, steps_T=steps_T, is_terminal=is_terminal)


@st.composite
def a_played(draw: st.DrawFn) -> Credit:
    """Rewards are multiples of 0.1, as Crafter's; a decision takes 0 to 4 steps."""
    rewards = draw(st.lists(st.integers(-30, 30), min_size=1, max_size=8))
    taken = draw(st.lists(st.integers(0, 4), min_size=len(rewards), max_size=len(rewards)))
    steps = (0, *np.cumsum(taken).tolist()[:-1])
    return played(*(r / 10 for r in rewards), steps=steps, is_terminal=draw(st.booleans()))


groups = st.lists(a_played(), min_size=1, max_size=6)
names = st.sampled_from(sorted(ADVANTAGES))
any_group = settings(deadline=None, max_examples=100)


def advantages(name: str, group: Sequence[Credit], gamma: float = GAMMA) -> list[list[float]]:
    return [list(advantages_T) for advantages_T in ADVANTAGES[name](group, gamma)]


def with_more(one: Credit, more: float) -> Credit:
    return replace(one, rewards_T=(*one.rewards_T[:-1], one.rewards_T[-1] + more))


def times(one: Credit, factor: float) -> Credit:
    return replace(one, rewards_T=tuple(r * factor for r in one.rewards_T))


def nearly(rows: list[list[float]]) -> list[object]:
    return [pytest.approx(row, rel=1e-6, abs=1e-6) for row in rows]


def test_grpo_by_hand() -> None:
    # Returns 1, 3, 2, 2: mean 2, population deviation sqrt(2 / 4).
    group = [played(1, 0), played(1, 2), played(2), played(0, 2, 0)]
    unit = math.sqrt(2)
    assert advantages("grpo", group) == nearly([[-unit] * 2, [unit] * 2, [0], [0] * 3])


def test_dr_grpo_by_hand() -> None:
    group = [played(1, 0), played(1, 2), played(2), played(0, 2, 0)]
    assert advantages("dr_grpo", group) == nearly([[-1, -1], [1, 1], [0], [0, 0, 0]])


def test_return_to_go_is_discounted_per_step_of_the_game() -> None:
    one = played(1, 8, 16, steps=(0, 1, 4))
    assert list(returns_to_go(one, 0.5)) == [1 + (8 + 16 / 8) / 2, 8 + 16 / 8, 16]


def test_turn_by_hand() -> None:
    # To go 0.5, 1 and 0, 0; baseline 0.25, 0.5; mean square of the residuals 0.625 / 4.
    group = [played(0, 1), played(0, 0)]
    unit = 0.25 / math.sqrt(0.625 / 4)
    assert advantages("turn", group, 0.5) == nearly([[unit, 2 * unit], [-unit, -2 * unit]])


def test_turn_after_a_death_there_is_nothing_to_come() -> None:
    # To go 3, 2, 1 and 1; the dead one adds 0 at steps 1 and 2: baseline 2, 1, 0.5.
    unit = 1 / math.sqrt((1 + 1 + 0.25 + 1) / 4)
    group = [played(1, 1, 1), played(1, is_terminal=True)]
    assert advantages("turn", group, 1) == nearly([[unit, unit, unit / 2], [-unit]])


def test_turn_after_a_limit_nothing_is_known() -> None:
    # To go 3, 2, 1 and 1; the one cut off is left out at steps 1 and 2: baseline 2, 2, 1.
    unit = math.sqrt(2)
    assert advantages("turn", [played(1, 1, 1), played(1)], 1) == nearly([[unit, 0, 0], [-unit]])


def test_turn_compares_at_the_same_step_of_the_game() -> None:
    # To go 1, 4 at steps 0, 2, which is 2 at step 1; and 0, 0, 0: baseline 0.5, 1, 2.
    unit = 1 / math.sqrt((0.25 + 4 + 0.25 + 1 + 4) / 5)
    group = [played(0, 4, steps=(0, 2)), played(0, 0, 0)]
    expected = [[unit / 2, 2 * unit], [-unit / 2, -unit, -2 * unit]]
    assert advantages("turn", group, 0.5) == nearly(expected)


def test_turn_a_second_decision_at_a_step_is_held_against_the_others_last_there() -> None:
    # A bad call at step 0, penalty 1: to go 1, 2; the other's only one 0: baseline 0.5, 1.
    unit = math.sqrt(2)
    group = [played(-1, 2, steps=(0, 0)), played(0)]
    assert advantages("turn", group, 0.5) == nearly([[unit / 2, unit], [-unit / 2]])


def test_turn_tells_early_from_late_where_returns_are_equal() -> None:
    group = [played(1, 0), played(0, 1)]
    assert is_flat(ADVANTAGES["grpo"](group, GAMMA))
    assert not is_flat(ADVANTAGES["turn"](group, GAMMA))


@any_group
@given(group=groups, name=names, order=st.randoms())
def test_the_order_of_the_group_does_not_matter(
    group: list[Credit], name: str, order: object
) -> None:
    numbers = list(range(len(group)))
    order.shuffle(numbers)  # type: ignore[attr-defined]
    plain = advantages(name, group)
    assert advantages(name, [group[n] for n in numbers]) == nearly([plain[n] for n in numbers])


@any_group
@given(group=groups, name=st.sampled_from(RETURN_ONLY), more=st.integers(-50, 50))
def test_what_all_returns_share_does_not_matter(group: list[Credit], name: str, more: int) -> None:
    shifted = [with_more(one, more / 10) for one in group]
    assert advantages(name, shifted) == nearly(advantages(name, group))


@any_group
@given(group=groups, name=st.sampled_from(["grpo", "turn"]), factor=st.floats(0.01, 100))
def test_the_scale_of_rewards_does_not_matter(
    group: list[Credit], name: str, factor: float
) -> None:
    scaled = [times(one, factor) for one in group]
    assert advantages(name, scaled) == nearly(advantages(name, group))


@any_group
@given(group=groups)
def test_dr_grpo_keeps_the_scale_of_rewards(group: list[Credit]) -> None:
    doubled = [times(one, 2) for one in group]
    expected = [[2 * value for value in row] for row in advantages("dr_grpo", group)]
    assert advantages("dr_grpo", doubled) == nearly(expected)


@any_group
@given(group=groups, name=st.sampled_from(RETURN_ONLY))
def test_trajectories_are_zero_on_average(group: list[Credit], name: str) -> None:
    assert sum(row[0] for row in advantages(name, group)) == pytest.approx(0, abs=1e-6)


@any_group
@given(group=groups, length=st.integers(1, 8))
def test_turn_is_zero_on_average_at_a_step_that_all_decide_at(
    group: list[Credit], length: int
) -> None:
    even = [played(*(one.rewards_T * 8)[:length]) for one in group]
    for same_step in zip(*advantages("turn", even), strict=True):
        assert sum(same_step) == pytest.approx(0, abs=1e-6)


@any_group
@given(group=groups, name=names)
def test_a_decision_has_a_finite_advantage(group: list[Credit], name: str) -> None:
    rows = ADVANTAGES[name](group, GAMMA)
    assert [len(row) for row in rows] == [len(one.rewards_T) for one in group]
    assert all(np.isfinite(row).all() for row in rows)


@any_group
@given(one=a_played(), size=st.integers(1, 6), name=names)
def test_equal_trajectories_teach_exactly_nothing(one: Credit, size: int, name: str) -> None:
    rows = ADVANTAGES[name]([one] * size, GAMMA)
    assert is_flat(rows)
    assert all((row == 0).all() for row in rows)


@pytest.mark.parametrize("name", sorted(ADVANTAGES))
def test_rounding_teaches_nothing(name: str) -> None:
    assert 0.1 + 0.2 != 0.3
    assert is_flat(ADVANTAGES[name]([played(0.1 + 0.2), played(0.3)], GAMMA))


@pytest.mark.parametrize("name", sorted(ADVANTAGES))
def test_one_difference_in_a_group_is_not_flat(name: str) -> None:
    group = [played(0, 0), played(0, 0), played(0, 0.1)]
    assert not is_flat(ADVANTAGES[name](group, GAMMA))


def test_without_foresight_a_decision_has_its_own_reward_alone() -> None:
    assert list(returns_to_go(played(1, 2, 4), 0.0)) == [1, 2, 4]


@pytest.mark.parametrize(
    ("rewards", "steps", "words"),
    [
        ((), (), "one at least"),
        ((1.0, 2.0), (0,), "2 rewards at 1 steps"),
        ((1.0, 2.0), (3, 2), "goes back"),
    ],
)
def test_what_no_episode_is(rewards: tuple[float, ...], steps: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Credit(rewards_T=rewards, steps_T=steps, is_terminal=False)
