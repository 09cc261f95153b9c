"""Seed and actions decide the game: no process, look or picture size changes it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.game import Game
from tests.worlds import DAY, play_on, random_actions

DIGEST = """
import hashlib, sys
from actors.game import Game
from configs.play import EnvConfig
from tests.worlds import random_actions
game, digest = Game(EnvConfig(length=300), 1), hashlib.sha256()
for number, action in enumerate(random_actions(1, 250)):
    game._player.inventory["health"] = 9
    step = game.step(action)
    for size in map(int, sys.argv[1:]):
        game.draw(size)
    digest.update(repr((step, game.observe())).encode())
    if number % 5 == 0:
        digest.update(game.draw(64).tobytes() + game.draw(72).tobytes())
    if step.terminated:
        break
print(game._world.step, digest.hexdigest())
"""


@pytest.mark.slow
def test_two_processes_play_the_same_game_whatever_they_look_at() -> None:
    root = Path(__file__).parents[1]
    ends = [
        subprocess.run(
            [sys.executable, "-c", DIGEST, *sizes],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed, sizes in (("1", []), ("2", ["288", "64", "40"]))
    ]
    assert ends[0] == ends[1]
    assert int(ends[0].split()[0]) > 160, "the game must reach the night"


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    looks=st.lists(st.tuples(st.integers(0, 179), st.sampled_from((40, 64, 72, 288))), max_size=20),
)
def test_looking_never_changes_the_game(seed: int, looks: list[tuple[int, int]]) -> None:
    watched, unwatched = Game(DAY, seed), Game(DAY, seed)
    for index, action in enumerate(random_actions(seed, 180)):
        for moment, size in looks:
            if moment == index:
                watched.draw(size)
                watched.observe()
        watched._player.inventory["health"] = unwatched._player.inventory["health"] = 9
        step = watched.step(action)
        assert step == unwatched.step(action)
        if step.terminated:
            break
    assert watched.observe() == unwatched.observe()
    np.testing.assert_array_equal(watched.draw(64), unwatched.draw(64))


@pytest.mark.parametrize("size", [72, 288])
def test_a_game_seen_at_another_size_is_the_game_seen_at_64(size: int) -> None:
    small, large = Game(DAY, 2), Game(DAY, 2)
    for action in random_actions(2, 290):
        small._player.inventory["health"] = large._player.inventory["health"] = 9
        small.draw(64)
        large.draw(size)
        step = small.step(action)
        assert step == large.step(action)
        assert small.observe() == large.observe()
        if step.terminated:
            break
    np.testing.assert_array_equal(small._world._world._mat_map, large._world._world._mat_map)
    np.testing.assert_array_equal(small._world._world._obj_map, large._world._world._obj_map)
    assert small.observe().step > 160, "the game must reach the night"


@pytest.mark.parametrize("size", [64, 72])
def test_a_second_look_at_a_dark_moment_shows_the_same_noise(size: int) -> None:
    game = Game(DAY, 0)
    play_on(game, ["noop"] * 160)
    np.testing.assert_array_equal(game.draw(size), game.draw(size))


def test_noise_of_a_large_picture_is_new_at_every_step() -> None:
    game = Game(DAY, 0)
    play_on(game, ["noop"] * 160)
    frame = game.draw(72)
    game._world._env._step += 1  # and nothing else: the same tiles in the same darkness
    assert (game.draw(72) != frame).any()
