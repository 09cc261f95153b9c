"""What a game tells: how it ends, what a step did, what is observed."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from crafter import objects
from PIL import Image

from actors.game import Game, encode_png
from actors.world import _generated
from cluster.names import ACTIONS, ITEMS, TILES
from configs.play import EnvConfig
from tests.worlds import DAY, material, random_actions, zombie


def test_lava_terminates_and_does_not_truncate() -> None:
    game = Game(DAY, 0)
    material(game, 1, 0, "lava")
    step = game.step("move_right")
    assert (step.terminated, step.truncated, step.damaged) == (True, False, True)
    assert step.reward == -0.9


def test_the_time_limit_truncates_and_does_not_terminate() -> None:
    game = Game(EnvConfig(length=2), 0)
    steps = [game.step("noop"), game.step("noop")]
    assert [(step.terminated, step.truncated) for step in steps] == [(False, False), (False, True)]


def test_death_at_the_time_limit_is_death() -> None:
    game = Game(EnvConfig(length=1), 0)
    material(game, 1, 0, "lava")
    step = game.step("move_right")
    assert (step.terminated, step.truncated) == (True, False)


def test_a_step_after_the_end_is_refused_with_the_remedy() -> None:
    game = Game(EnvConfig(length=1), 3)
    game.step("noop")
    with pytest.raises(RuntimeError, match=r"seed 3 ended at step 1: make a new Game"):
        game.step("noop")


def test_the_last_moment_can_still_be_seen() -> None:
    game = Game(EnvConfig(length=1), 3)
    game.step("noop")
    assert game.observe().step == 1
    assert game.draw(64).shape == (64, 64, 3)


def test_an_unknown_action_is_refused_and_the_game_goes_on() -> None:
    game = Game(DAY, 0)
    with pytest.raises(ValueError, match=r"unknown action 'jump': give one of noop, move_left"):
        game.step("jump")
    assert game.observe().step == 0


def test_a_play_of_a_world_leaves_the_next_ones_as_they_were() -> None:
    first = Game(EnvConfig(), seed=3)
    begun = first.observe(), first.draw(64).tolist()
    then = [(first.step("move_left"), first.observe()) for _ in range(20)]
    again = Game(EnvConfig(), seed=3)
    assert (again.observe(), again.draw(64).tolist()) == begun
    assert [(again.step("move_left"), again.observe()) for _ in range(20)] == then


def test_plays_that_begin_together_make_their_world_once() -> None:
    _generated.cache_clear()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: Game(EnvConfig(), seed=3), range(4)))
    assert _generated.cache_info().misses == 1


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed -1 is negative"):
        Game(DAY, -1)


def test_a_picture_without_room_for_its_tiles_is_refused() -> None:
    with pytest.raises(ValueError, match="16 pixels are too few"):
        Game(DAY, 0).draw(16)


def test_an_achievement_is_unlocked_and_rewarded_once() -> None:
    game, steps = Game(DAY, 0), []
    for _ in range(2):
        material(game, 0, 1, "tree")
        steps.append(game.step("do"))
    assert [(step.unlocked, step.reward) for step in steps] == [(("collect_wood",), 1.0), ((), 0.0)]
    assert game.observe().achievements == ("collect_wood",)


def test_two_achievements_at_once_are_both_told_and_rewarded_as_one() -> None:
    game = Game(DAY, 0)
    game._player.sleeping = True  # with full energy: it wakes up and acts
    material(game, 0, 1, "tree")
    step = game.step("do")
    assert (step.unlocked, step.reward) == (("collect_wood", "wake_up"), 1.0)


def test_what_is_achieved_again_is_earned_and_not_unlocked() -> None:
    game, steps = Game(DAY, 0), []
    for _ in range(2):
        material(game, 0, 1, "tree")
        steps.append(game.step("do"))
    assert [step.earned for step in steps] == [("collect_wood",), ("collect_wood",)]
    assert game.step("noop").earned == ()


def test_what_is_gained_is_told_and_what_is_spent_is_not() -> None:
    game = Game(DAY, 0)
    game._player.inventory.update(wood=5, food=3)
    game._player._hunger = 25  # this step takes a food
    material(game, 1, 0, "table")
    step = game.step("make_wood_pickaxe")
    assert game.observe().inventory["wood"] == 4
    assert game.observe().inventory["food"] == 2
    assert step.gained == {"wood_pickaxe": 1}


def test_a_full_pack_gains_nothing() -> None:
    game = Game(DAY, 0)
    game._player.inventory["wood"] = 9
    material(game, 0, 1, "tree")
    step = game.step("do")
    assert (step.earned, step.gained) == (("collect_wood",), {})


def test_a_zombies_blow_is_damage() -> None:
    game = Game(DAY, 0)
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        zombie(game, dx, dy)
    step = game.step("noop")
    health = game.observe().inventory["health"]
    assert step.damaged
    assert step.health_change == health - 9
    assert step.reward == (health - 9) / 10 < 0


def test_healing_is_no_damage() -> None:
    game = Game(DAY, 0)
    game._player.inventory["health"] = 5
    game._player._recover = 25
    step = game.step("noop")
    assert (step.damaged, step.reward) == (False, 0.1)
    assert (step.health_change, step.gained) == (1, {"health": 1})


def test_a_move_against_stone_is_blocked_and_turns() -> None:
    game = Game(DAY, 0)
    material(game, -1, 0, "stone")
    assert game.step("move_left").blocked
    assert (game.observe().facing, game.observe().displacement) == ((-1, 0), (0, 0))
    assert game.observe().facing_tile == "stone"


def test_a_move_onto_grass_is_not_blocked() -> None:
    game = Game(DAY, 0)
    material(game, -1, 0, "grass")
    assert not game.step("move_left").blocked
    assert game.observe().displacement == (-1, 0)


def test_what_is_no_move_is_never_blocked() -> None:
    game = Game(DAY, 0)
    assert not any(game.step(a).blocked for a in ACTIONS if not a.startswith("move_"))


def test_a_move_asleep_is_not_carried_out_and_so_not_blocked() -> None:
    game = Game(DAY, 0)
    material(game, -1, 0, "stone")
    game._player.sleeping, game._player.inventory["energy"] = True, 3
    assert not game.step("move_left").blocked
    assert game.observe().facing == (0, 1)


def test_a_move_on_waking_up_can_be_blocked() -> None:
    game = Game(DAY, 0)
    material(game, -1, 0, "stone")
    game._player.sleeping = True
    assert game.step("move_left").blocked


def test_the_first_observation_has_the_player_in_the_middle_facing_down() -> None:
    facts = Game(DAY, 0).observe()
    assert (len(facts.view), len(facts.view[0]), facts.view[3][4]) == (7, 9, "player")
    assert (facts.facing, facts.displacement, facts.step, facts.length) == ((0, 1), (0, 0), 0, 300)
    assert facts.inventory == {
        name: 9 if name in ("health", "food", "drink", "energy") else 0 for name in ITEMS
    }


def test_objects_hide_their_ground_and_ripe_plants_are_told_apart() -> None:
    game = Game(DAY, 0)
    zombie(game, 0, -2)
    for dx, grown in ((2, 0), (3, 301)):
        material(game, dx, 0, "grass")
        plant = objects.Plant(game._world._world, np.add(game._player.pos, (dx, 0)))
        plant.grown = grown
        game._world._world.add(plant)
    for dx, facing in ((-2, (-1, 0)), (-3, (0, 1))):
        material(game, dx, 0, "path")
        arrow = objects.Arrow(game._world._world, np.add(game._player.pos, (dx, 0)), facing)
        game._world._world.add(arrow)
    view = game.observe().view
    assert view[1][4] == "zombie"
    assert view[3][6:8] == ("plant", "ripe_plant")
    assert view[3][1:3] == ("arrow", "arrow")


def test_a_sleeping_player_is_still_the_player() -> None:
    game = Game(DAY, 0)
    game._player.sleeping = True
    assert game.observe().view[3][4] == "player"
    assert game.observe().sleeping


def test_an_observation_stays_as_it_was() -> None:
    game = Game(DAY, 0)
    material(game, 0, 1, "tree")
    before, copy = game.observe(), game.observe()
    before.inventory["wood"] = 7
    game.step("do")
    assert game.observe().inventory["wood"] == 1
    assert copy.inventory["wood"] == 0
    assert copy.facing_tile == "tree"


def test_every_name_in_a_view_is_a_tile() -> None:
    game = Game(DAY, 4)
    for action in random_actions(4, 100):
        game.step(action)
        assert {tile for row in game.observe().view for tile in row} <= set(TILES)


def test_a_png_holds_the_frame_without_loss() -> None:
    frame = Game(DAY, 0).draw(72)
    with Image.open(io.BytesIO(encode_png(frame))) as image:
        np.testing.assert_array_equal(np.asarray(image), frame)
