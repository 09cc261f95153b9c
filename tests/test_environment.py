"""The Gymnasium interface keeps Gymnasium's contract and adds nothing to the game."""

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from actors.environment import ENV_ID, CrafterEnv
from actors.game import Game
from cluster.names import ACTIONS
from configs.play import EnvConfig
from tests.worlds import material


@pytest.mark.parametrize("size", ["auto", 72])
@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_gymnasiums_checker_finds_no_fault_and_warns_of_none(
    size: int | str, render_mode: str | None
) -> None:
    config = EnvConfig.model_validate({"size": size})
    check_env(gymnasium.make(ENV_ID, config=config, render_mode=render_mode).unwrapped)


def test_an_episode_through_gymnasiums_wrappers_plays_the_game_of_its_seed() -> None:
    env, game = gymnasium.make(ENV_ID, config=EnvConfig(length=20)), Game(EnvConfig(length=20), 5)
    frame, info = env.reset(seed=5)
    over = False
    while not over:
        np.testing.assert_array_equal(frame, game.draw(64))
        assert info["facts"] == game.observe()
        action = env.action_space.sample()
        frame, reward, terminated, truncated, info = env.step(action)
        step = game.step(ACTIONS[action])
        over = terminated or truncated
        assert (reward, terminated, truncated) == (step.reward, step.terminated, step.truncated)
        assert info["unlocked"] == step.unlocked
        assert (info["damaged"], info["blocked"]) == (step.damaged, step.blocked)
    assert game.observe().step == 20


def test_a_frame_has_the_configured_size() -> None:
    env = CrafterEnv(EnvConfig(size=72))
    frame, _ = env.reset(seed=0)
    assert frame.shape == env.observation_space.shape == (72, 72, 3)


def test_death_is_terminated_and_the_time_limit_truncated() -> None:
    ends = []
    for name in ("lava", "grass"):
        env = CrafterEnv(EnvConfig(length=1))
        env.reset(seed=0)
        assert env._game is not None
        material(env._game, 1, 0, name)
        _, _, terminated, truncated, _ = env.step(np.int64(ACTIONS.index("move_right")))
        ends.append((terminated, truncated))
    assert ends == [(True, False), (False, True)]


def test_resets_without_a_seed_give_new_worlds_in_an_order_set_by_the_last_seed() -> None:
    series = []
    for _ in range(2):
        env = CrafterEnv()
        env.reset(seed=3)
        series.append([env.reset()[0], env.reset()[0]])
    np.testing.assert_array_equal(series[0], series[1])
    assert (series[0][0] != series[0][1]).any()


def test_rendering_shows_the_present_frame_and_leaves_the_game_alone() -> None:
    env = CrafterEnv(render_mode="rgb_array")
    env.reset(seed=0)
    frame, *_ = env.step(np.int64(1))
    for _ in range(2):
        rendered = env.render()
        assert rendered is not None
        np.testing.assert_array_equal(rendered, frame)


def test_stepping_before_the_first_reset_is_refused() -> None:
    with pytest.raises(ResetNeeded, match="call reset"):
        CrafterEnv().step(np.int64(0))
