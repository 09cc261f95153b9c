"""What steps earn: every strategy by hand, and what of it is refused, stored and played again."""

from dataclasses import replace
from typing import Any

import pytest

from actors.episode import play
from actors.game import Game
from actors.policies.random import RandomPolicy
from actors.replay import redraw
from actors.rewards import Rewards
from actors.seat import seat
from cluster.errors import TraceError, UserError
from cluster.names import ACTIONS
from cluster.trace_rows import episodes_table, to_trajectory, turns_table
from cluster.types import EpisodeSpec, Trajectory
from configs.jobs import CollectConfig
from configs.load import load
from configs.player import RandomPlayer
from configs.rewards import RewardConfig
from tests.worlds import DAY, ordered_stock, random_actions, step

WOOD = {"earned": ("collect_wood",), "gained": {"wood": 1}}
DECISIONS = (
    (step(**WOOD, unlocked=("collect_wood",), reward=1.0), step(**WOOD)),
    (
        step(health_change=-2, reward=-0.2),
        step(
            unlocked=("eat_cow", "wake_up"),
            earned=("eat_cow", "wake_up"),
            gained={"food": 6, "health": 1},
            health_change=1,
            reward=1.1,
        ),
        step(unlocked=("place_table",), earned=("place_table",), reward=1.0),
    ),
    (step(earned=("eat_cow",), gained={"food": 2}), step(**WOOD)),
)
"""Wood twice; a blow, then two things at once and a third; a cow and wood once more."""


def rewards(**settings: Any) -> list[list[float]]:
    """Of DECISIONS."""
    earned = Rewards(RewardConfig.model_validate(settings))
    return [[earned.of(step, index) for index, step in enumerate(d)] for d in DECISIONS]


def test_by_default_a_step_earns_crafters_own() -> None:
    assert rewards() == [[1.0, 0.0], [-0.2, 1.1, 1.0], [0.0, 0.0]]


def test_by_default_a_real_game_earns_what_stock_gives() -> None:
    earned, game, stock = Rewards(RewardConfig()), Game(DAY, 152), ordered_stock(152)
    stock.reset()
    for index, action in enumerate(random_actions(152, 300)):
        _, reward, _, _ = stock.step(ACTIONS.index(action))
        assert earned.of(game.step(action), index % 5) == reward


def test_each_unlock_earns_its_weight_and_each_point_of_health_too() -> None:
    told = rewards(strategy="achievements", achievement_weights={"eat_cow": 3}, health_weight=0.5)
    assert told == [[1.0, 0.0], [-1.0, 4.5, 1.0], [0.0, 0.0]]


def test_an_achievement_may_be_worth_nothing_or_less() -> None:
    weights = {"eat_cow": 0, "place_table": -1}
    told = rewards(strategy="achievements", achievement_weights=weights, health_weight=0)
    assert told == [[1.0, 0.0], [0.0, 1.0, -1.0], [0.0, 0.0]]


def test_with_achievements_items_count_and_idle_steps_cost() -> None:
    earned = Rewards(
        RewardConfig(
            strategy="achievements", health_weight=0, item_weights={"wood": 0.25}, idle_penalty=-0.5
        )
    )
    steps = [step(**WOOD, unlocked=("collect_wood",)), step(**WOOD), step(idle=True)]
    assert [earned.of(one, 0) for one in steps] == [1.25, 0.25, -0.5]


def test_consistent_pays_a_decision_once_at_its_first_unlock() -> None:
    assert rewards(strategy="consistent") == [[1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0]]


def test_consistent_pays_every_decision_that_unlocks() -> None:
    earned = Rewards(RewardConfig(strategy="consistent", scale=2))
    unlock = step(unlocked=("wake_up",))
    assert [earned.of(unlock, index) for index in (0, 0, 1, 0)] == [2.0, 2.0, 0.0, 2.0]


def test_per_achievement_counts_each_one_once() -> None:
    assert rewards(strategy="per_achievement") == [[1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0]]


def test_per_achievement_multiplies_weights_by_the_scale() -> None:
    told = rewards(strategy="per_achievement", achievement_weights={"eat_cow": 3}, scale=0.5)
    assert told == [[0.5, 0.0], [0.0, 2.0, 0.5], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("times", "of_wood"), [(1, [1.0, 0.0, 0.0]), (2, [1.0, 1.0, 0.0]), (0, [1.0, 1.0, 1.0])]
)
def test_an_achievement_counts_as_often_as_it_may(times: int, of_wood: list[float]) -> None:
    told = rewards(strategy="per_achievement", repeats={"collect_wood": times})
    assert [told[0][0], told[0][1], told[2][1]] == of_wood
    assert told[2][0] == 0.0


def test_each_item_gained_earns_its_weight() -> None:
    told = rewards(strategy="per_achievement", item_weights={"wood": 0.25, "food": 0.5}, scale=2)
    assert told == [[2.5, 0.5], [0.0, 10.0, 2.0], [2.0, 0.5]]


def config(*overrides: str) -> CollectConfig:
    return load(
        CollectConfig, ["--output", "x", "--seeds", "152", "--policy.kind", "random", *overrides]
    )


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["--achievement_weights.collect_dimond", "5"],
            "play.reward.achievement_weights.collect_dimond: no such achievement; the nearest is "
            "'collect_diamond'",
        ),
        (["--repeats.xyz", "2"], "no such achievement; there are collect_coal, collect_diamond,"),
        (["--item_weights.stones", "1"], "no such item; the nearest is 'stone'"),
        (
            ["--scale", "2"],
            "play.reward: scale is not read by strategy crafter: leave it out, or set strategy to "
            "consistent or per_achievement",
        ),
        (["--health_weight", "0"], "health_weight is not read by strategy crafter"),
        (
            ["--strategy", "consistent", "--achievement_weights.wake_up", "2"],
            "achievement_weights is not read by strategy consistent: leave it out, or set strategy "
            "to achievements or per_achievement",
        ),
        (["--strategy", "achievements", "--repeats.wake_up", "2"], "repeats is not read by"),
        (["--strategy", "per_achievement", "--health_weight", "1"], "set strategy to achievements"),
        (["--strategy", "per_achievement", "--repeats.wake_up", "-1"], "reward.repeats.wake_up"),
        (["--strategy", "consistent", "--scale", "0"], "play.reward.scale"),
        (["--strategy", "achievements", "--health_weight", "nan"], "play.reward.health_weight"),
        (["--strategy", "achievements", "--idle_penalty", "1"], "play.reward.idle_penalty"),
        (["--strategy", "per_achievement", "--idle_penalty", "-1"], "idle_penalty is not read by"),
        (["--strategy", "simple"], "play.reward.strategy"),
    ],
)
def test_what_no_strategy_can_use_is_refused_in_one_line(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError) as refused:
        config(*(text.replace("--", "--play.reward.") for text in overrides))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


SHAPED = [
    *("--play.reward.strategy", "per_achievement", "--play.reward.repeats.collect_sapling", "0"),
    *("--play.reward.item_weights.drink", "0.07", "--play.max_turns", "40"),
    *("--play.record_frames", "false"),
]


def test_what_a_trace_tells_makes_the_same_rewards_again() -> None:
    chosen = config(*SHAPED).play.reward
    assert RewardConfig.model_validate(chosen.used()) == chosen


def test_a_trace_tells_no_setting_that_was_not_read() -> None:
    assert RewardConfig(strategy="consistent").used() == {"strategy": "consistent", "scale": 1.0}


async def from_trace(*overrides: str) -> Trajectory:
    """An episode of the random player, stored and read again."""
    run = config("--policy.num_actions", "5", *overrides)
    assert isinstance(run.policy, RandomPlayer)
    spec = EpisodeSpec(seed=152)
    policy, table = RandomPolicy(run.policy, spec), seat(run.policy, run, version=0).table
    played = await play(spec, lambda seed: Game(run.env, seed), policy, table)
    assert turns_table(played).column("rewards").to_pylist() == [
        list(turn.rewards) for turn in played.turns
    ]
    return to_trajectory(episodes_table([played], "part").to_pylist()[0], played.turns)


async def test_a_trace_tells_its_rewards_and_plays_out_with_them() -> None:
    told = await from_trace(*SHAPED)
    assert told.env["reward"]["item_weights"] == {"drink": 0.07}
    assert told.total_reward > len(told.achievements) > 0
    assert len(list(redraw(told, 64))) == len(told.turns)


async def test_a_trace_from_before_there_was_a_choice_plays_out() -> None:
    told = await from_trace()
    old = {key: told.env[key] for key in ("size", "area", "view", "length")}
    assert told.env == old | {"reward": {"strategy": "crafter"}, "bad_call_penalty": 0.0}
    assert len(list(redraw(replace(told, env=old), 64))) == len(told.turns)


async def test_a_trace_that_tells_other_rewards_than_it_holds_is_noticed() -> None:
    told = await from_trace(*SHAPED)
    wrong = told.env | {"reward": {"strategy": "crafter"}}
    with pytest.raises(TraceError, match=r"earns .*, recorded"):
        list(redraw(replace(told, env=wrong), 64))
