"""Scores, against numbers worked by hand."""

import numpy as np
import pytest

from cluster.names import ACHIEVEMENTS
from cluster.scores import bootstrap, crafter_score, gain, score
from cluster.types import Ending, EpisodeSpec, Summary


def summary(seed: int, achievements: tuple[str, ...], sample: int = 0) -> Summary:
    return Summary(
        spec=EpisodeSpec(seed=seed, sample=sample),
        ending=Ending.DEATH,
        error="",
        num_turns=10,
        num_env_steps=20,
        num_tool_calls=9,
        total_reward=1.5,
        achievements=achievements,
        invalid_calls={"no_call": 1},
        num_prompt_tokens=100,
        num_completion_tokens=30,
        cost_usd=0.25,
        duration_s=1.0,
    )


def test_crafter_score_by_hand() -> None:
    # One of two achievements always, the other never: exp((ln 101 + ln 1) / 2) - 1 = sqrt(101) - 1.
    assert crafter_score(np.array([1.0, 0.0])) == pytest.approx(101**0.5 - 1)


def test_figures_by_hand() -> None:
    figures = score([summary(0, ("wake_up",)), summary(1, ("wake_up", "eat_cow"))])
    assert figures["episodes"] == 2
    assert figures["mean_achievements"] == 1.5
    assert figures["progress"] == pytest.approx(1.5 / 22)
    assert figures["success"]["wake_up"] == 1.0
    assert figures["success"]["eat_cow"] == 0.5
    assert figures["mean_steps"] == 10
    assert figures["total_tool_calls"] == 18
    assert figures["invalid_calls"] == {"no_call": 2}
    assert figures["endings"] == {"death": 2}
    assert figures["cost_usd"] == 0.5
    # sum over achievements of ln(1 + percent): ln 101 + ln 51, over 22.
    assert figures["crafter_score"] == pytest.approx((101 * 51) ** (1 / 22) - 1)


def test_interval_of_equal_worlds_has_no_width() -> None:
    figures = score([summary(seed, ("wake_up",)) for seed in range(5)])
    assert figures["mean_achievements_ci"] == [1.0, 1.0]


def test_interval_covers_the_binomial_spread() -> None:
    # 100 worlds, half with one achievement: standard error 0.05, so about 0.4 to 0.6.
    played = [summary(seed, ("wake_up",) if seed % 2 else ()) for seed in range(100)]
    low, high = score(played)["mean_achievements_ci"]
    assert low == pytest.approx(0.40, abs=0.03)
    assert high == pytest.approx(0.60, abs=0.03)


def test_plays_of_one_world_are_kin() -> None:
    # Ten plays each of two worlds that differ: as uncertain as two worlds, not as twenty.
    values = np.array([[1.0]] * 10 + [[0.0]] * 10)
    worlds = [0] * 10 + [1] * 10
    interval = bootstrap(values, worlds, lambda means: means[:, 0])
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_a_gain_is_over_pairs_of_one_world() -> None:
    """Each unlocks one more than in the same world before: there is nothing to be unsure of."""
    before = [summary(0, ()), summary(1, ("wake_up", "eat_cow"))]
    after = [summary(1, ("wake_up", "eat_cow", "eat_plant")), summary(0, ("collect_wood",))]
    assert gain(after, before) == {"achievements": 1.0, "achievements_ci": [1.0, 1.0]}
    assert gain(before, after)["achievements"] == -1.0


def test_without_a_pair_there_is_no_gain() -> None:
    with pytest.raises(ValueError, match="2 plays have no pair"):
        gain([summary(0, ())], [summary(1, ())])


def test_no_episodes_have_no_score() -> None:
    with pytest.raises(ValueError, match="no episodes"):
        score([])


def test_there_are_22_achievements() -> None:
    assert len(ACHIEVEMENTS) == 22
