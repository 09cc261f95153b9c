"""The game is stock Crafter's, frame by frame, but for the order of its object sets."""

from typing import Any

import crafter
import numpy as np
import pytest

from actors.game import Game
from cluster.names import ACHIEVEMENTS, ACTIONS, ITEMS, TILES
from configs.play import EnvConfig
from tests.worlds import DAY, ordered_stock, play_on, random_actions


def assert_same_moment(game: Game, stock: Any, frame: Any) -> None:
    np.testing.assert_array_equal(game.draw(64), frame)
    np.testing.assert_array_equal(game._world._world._mat_map, stock._world._mat_map)
    np.testing.assert_array_equal(game._world._world._obj_map, stock._world._obj_map)
    np.testing.assert_equal(game._world._world.random.get_state(), stock._world.random.get_state())
    facts = game.observe()
    assert facts.inventory == stock._player.inventory
    assert game._player.achievements == stock._player.achievements
    assert facts.facing == tuple(stock._player.facing)
    assert facts.sleeping == stock._player.sleeping
    assert facts.daylight == stock._world.daylight


def provide(player: Any) -> None:
    """Keep a player alive and able to make everything, so that every rule is met."""
    player.inventory.update(dict.fromkeys(("sapling", "wood", "stone", "coal", "iron"), 5))
    player.inventory.update(health=9, food=4, drink=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "view", "area"),
    [(2, (9, 9), (64, 64)), (3, (9, 9), (64, 64)), (1, (7, 6), (30, 45)), (2, (11, 9), (20, 20))],
)
def test_every_frame_and_state_of_days_and_nights_is_stock_crafters(
    seed: int, view: tuple[int, int], area: tuple[int, int]
) -> None:
    stock = ordered_stock(seed, view=view, area=area, length=500)
    game = Game(EnvConfig(view=view, area=area, length=500), seed)
    assert_same_moment(game, stock, stock.reset())
    nights, sleeps, dark_sleeps = 0, 0, 0
    for action in random_actions(seed, 500):
        provide(stock._player)
        provide(game._player)
        stock._last_health = stock._player.health
        frame, reward, over, info = stock.step(ACTIONS.index(action))
        step = game.step(action)
        assert_same_moment(game, stock, frame)
        assert step.reward == reward
        assert step.terminated == (info["discount"] == 0)
        assert (step.terminated or step.truncated) == over
        nights += game._world.noise is not None
        sleeps += game._player.sleeping
        dark_sleeps += game._player.sleeping and game._world.noise is not None
    assert min(nights, sleeps, dark_sleeps) > 0


@pytest.mark.parametrize("seed", range(4))
def test_an_untouched_episode_is_stock_crafters_to_its_end(seed: int) -> None:
    stock, game, over = ordered_stock(seed, length=300), Game(DAY, seed), False
    assert_same_moment(game, stock, stock.reset())
    for action in random_actions(seed + 10, 300):
        if not over:
            frame, reward, over, info = stock.step(ACTIONS.index(action))
            step = game.step(action)
            assert_same_moment(game, stock, frame)
            assert step.reward == reward
            assert (step.terminated, step.truncated) == (
                info["discount"] == 0,
                over and not step.terminated,
            )
    assert over


def test_a_game_begins_as_the_first_episode_of_unchanged_stock() -> None:
    np.testing.assert_array_equal(Game(DAY, 7).draw(64), crafter.Env(seed=7).reset())


@pytest.mark.parametrize("size", [72, 100, 288])
def test_by_day_pictures_of_other_sizes_are_stock_crafters_too(size: int) -> None:
    stock, game = ordered_stock(5, size=(size, size)), Game(DAY, 5)
    frames = [stock.reset(), *(stock.step(ACTIONS.index(a))[0] for a in random_actions(5, 60))]
    np.testing.assert_array_equal(game.draw(size), frames[0])
    for frame, action in zip(frames[1:], random_actions(5, 60), strict=True):
        game.step(action)
        np.testing.assert_array_equal(game.draw(size), frame)


def test_at_night_a_large_picture_is_stock_crafters_up_to_the_noise() -> None:
    game = Game(DAY, 0)
    play_on(game, random_actions(0, 200))
    stock = ordered_stock(0, size=(288, 288))
    stock.reset()
    stock._world, stock._player = game._world._world, game._player
    stock._local_view._world = game._world._world
    ours, theirs = game.draw(288).astype(int), stock.render().astype(int)
    assert game._world.noise is not None
    assert np.abs(ours - theirs)[:224].max() > 0
    # Noise is uniform in [32, 127) and weighs less than half here, after a halving tint.
    assert abs(ours - theirs).max() <= 48
    assert abs(ours.mean() - theirs.mean()) < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_the_view_agrees_with_crafters_semantic_map_at_every_step(seed: int) -> None:
    area, view = (16, 16), (9, 9)  # small, so that edges are in view at once
    stock, game = ordered_stock(seed, area=area), Game(EnvConfig(area=area, view=view), seed)
    stock.reset()
    names = [None, *crafter.constants.materials, *TILES[TILES.index("player") :]]
    for action in random_actions(seed, 150):
        _, _, over, info = stock.step(ACTIONS.index(action))
        game.step(action)
        x, y = info["player_pos"]
        padded = np.pad(info["semantic"], 4)[x : x + 9, y + 1 : y + 8]
        expected = [[names[i] or "void" for i in row] for row in padded.T]
        assert [list(row) for row in game.observe().view] == expected
        if over:
            break


def test_the_vocabulary_is_crafters() -> None:
    assert list(ACTIONS) == crafter.constants.actions
    assert list(ITEMS) == list(crafter.constants.items)
    assert list(ACHIEVEMENTS) == crafter.constants.achievements
