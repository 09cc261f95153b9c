"""Credit by a critic: what it says of small batches, and what holds for any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.credit import Credit
from cluster.facts import NUM_FACTS, pack
from learners.rl.critic import Groups, judge

GAMMA, DECAY = 0.9, 0.5
NEAR_A_TREE = 7
"""Any fact would do."""


def played(*rewards: float, near: tuple[int, ...] = (), is_terminal: bool = True) -> Credit:
    """A decision a step, near a tree at some of them."""
    facts = [
        [n == NEAR_A_TREE and t in near for n in range(NUM_FACTS)] for t in range(len(rewards))
    ]
    return Credit(
        rewards_T=rewards,
        steps_T=tuple(range(len(rewards))),
        is_terminal=is_terminal,
        facts=pack(facts),
    )


def judged(
    *groups: list[Credit], decay: float = DECAY, earlier: Groups = ()
) -> list[list[list[float]]]:
    return [
        [list(advantages_T) for advantages_T in group]
        for group in judge(groups, earlier, GAMMA, decay).advantages
    ]


def test_where_nothing_is_expected_what_came_counts() -> None:
    # To the first group the other shows that nothing is ever earned: every value is 0, and what
    # comes k decisions later counts (0.9 x 0.5)^k times.
    [[first_T], _] = judged([played(0, 0, 1)], [played(0, 0, 0)])
    assert first_T == pytest.approx([first_T[2] * 0.45**2, first_T[2] * 0.45, first_T[2]])
    assert first_T[2] > 0


def test_what_brings_the_player_where_reward_is_near_is_good_at_once() -> None:
    # In the other world whoever was near a tree got 1 there, and nobody anything elsewhere.
    others = [played(0, 1, 0, near=(1,)) for _ in range(50)]
    # Here one comes near a tree, and the other does not; both are cut off without a reward.
    came, stayed = played(0, 0, near=(1,), is_terminal=False), played(0, 0, is_terminal=False)
    [[came_T, stayed_T], _] = judged([came, stayed], others, decay=0.0)
    assert came_T[0] > 5 * abs(stayed_T[0])


def test_death_where_something_was_to_come_is_bad() -> None:
    others = [played(1, 1, 1, 1, is_terminal=False) for _ in range(50)]
    dead, cut_off = played(1, 1), played(1, 1, is_terminal=False)
    [[dead_T, cut_off_T], _] = judged([dead, cut_off], others)
    assert dead_T[1] < -5 * abs(cut_off_T[1])


def test_a_group_is_not_judged_by_its_own_luck() -> None:
    # Both earn 1 where the other world says 0: were they held against each other, all would be 0.
    [[one_T, another_T], _] = judged([played(1), played(1)], [played(0)])
    assert one_T == another_T
    assert one_T[0] > 0.5


def test_what_earlier_batches_have_shown_counts_too() -> None:
    # The other group shows nothing; in the batch before 1 was earned at every decision.
    earlier = [[played(1)] for _ in range(200)]
    [[alone_T], _] = judged([played(1)], [played(0)])
    [[held_T], [other_T]] = judged([played(1)], [played(0)], earlier=earlier)
    assert alone_T[0] > 0.9
    assert held_T[0] == pytest.approx(0, abs=0.1)
    assert other_T[0] < -1


@st.composite
def a_played(draw: st.DrawFn) -> Credit:
    rewards = draw(st.lists(st.integers(-30, 30), min_size=1, max_size=6))
    near = draw(st.lists(st.integers(0, 5), max_size=3))
    return played(*(r / 10 for r in rewards), near=tuple(near), is_terminal=draw(st.booleans()))


batches = st.lists(st.lists(a_played(), min_size=1, max_size=3), min_size=2, max_size=4)


@given(batches, st.sampled_from([0.0, 0.9, 1.0]))
@settings(deadline=None, max_examples=30)
def test_there_is_one_for_each_decision(batch: list[list[Credit]], decay: float) -> None:
    found = judged(*batch, decay=decay)
    assert [[len(row) for row in group] for group in found] == [
        [len(one.rewards_T) for one in group] for group in batch
    ]
    assert all(np.isfinite(row).all() for group in found for row in group)


def test_it_foresees_what_the_facts_foretell() -> None:
    # Who is near a tree earns 1 at once, in every world alike; half of all decisions are.
    batch = [[played(1, 0, near=(0,)), played(0, 1, near=(1,))] for _ in range(40)]
    assert judge(batch, (), 0.0, 0.0).explained_variance == pytest.approx(1, abs=0.05)


def test_it_foresees_nothing_where_the_facts_are_silent() -> None:
    batch = [[played(1, 0), played(0, 1)] for _ in range(40)]
    assert judge(batch, (), 0.0, 0.0).explained_variance == pytest.approx(0, abs=0.01)


def test_one_group_can_not_be_judged() -> None:
    with pytest.raises(ValueError, match="give 2 groups or more"):
        judge([[played(1)]], (), GAMMA, DECAY)


def test_a_play_without_facts_can_not_be_judged() -> None:
    bare = Credit(rewards_T=(1.0,), steps_T=(0,), is_terminal=True)
    with pytest.raises(ValueError, match="1 decisions with the facts of 0"):
        judge([[bare], [bare]], (), GAMMA, DECAY)
