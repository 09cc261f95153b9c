"""Which actions do nothing."""

import pytest

from actors.game import Game
from tests.worlds import DAY, material, zombie


@pytest.mark.parametrize("facing", ["stone", "iron", "table", "sand", "water"])
def test_a_blow_at_what_can_not_be_had_is_idle(facing: str) -> None:
    game = Game(DAY, 0)
    material(game, 0, 1, facing)
    assert game.step("do").idle


def test_a_blow_that_gets_something_is_not() -> None:
    game = Game(DAY, 0)
    material(game, 0, 1, "tree")
    assert not game.step("do").idle


def test_a_drink_is_idle_only_for_one_who_is_not_thirsty() -> None:
    game = Game(DAY, 0)
    material(game, 0, 1, "water")
    game._player.inventory["drink"] = 8
    assert [game.step("do").idle for _ in range(2)] == [False, True]


def test_a_blow_at_a_creature_is_not() -> None:
    game = Game(DAY, 0)
    zombie(game, 0, 1)
    assert not game.step("do").idle


def test_to_search_grass_is_not_since_a_sapling_comes_by_chance() -> None:
    game = Game(DAY, 0)
    material(game, 0, 1, "grass")
    steps = [game.step("do") for _ in range(5)]
    assert not any(step.idle for step in steps)
    assert not all(step.earned for step in steps)


def test_the_first_move_against_stone_turns_and_the_next_is_idle() -> None:
    game = Game(DAY, 0)
    material(game, -1, 0, "stone")
    assert [game.step("move_left").idle for _ in range(2)] == [False, True]


def test_waiting_is_idle_but_hunger_on_the_way_changes_nothing() -> None:
    game = Game(DAY, 0)
    game._player._hunger = 25
    assert game.step("noop").idle
    assert game.observe().inventory["food"] == 8


def test_healing_while_waiting_is_not_the_doing_of_the_action() -> None:
    game = Game(DAY, 0)
    game._player.inventory["health"] = 5
    game._player._recover = 25
    assert game.step("noop").idle
    assert game.observe().inventory["health"] == 6


def test_to_go_to_sleep_to_sleep_and_to_wake_is_not() -> None:
    game = Game(DAY, 0)
    material(game, 0, 1, "stone")
    game._player.inventory["energy"] = 8
    assert not game.step("sleep").idle
    assert not game.step("noop").idle
    game._player.inventory["energy"] = 9
    assert not game.step("noop").idle
    assert not game.observe().sleeping


def test_sleep_of_one_who_is_not_tired_is_idle() -> None:
    assert Game(DAY, 0).step("sleep").idle


@pytest.mark.parametrize(
    ("action", "needs"), [("place_stone", "stone"), ("place_plant", "sapling")]
)
def test_to_place_something_is_idle_only_without_it(action: str, needs: str) -> None:
    game = Game(DAY, 0)
    material(game, 0, 1, "grass")
    assert game.step(action).idle
    game._player.inventory[needs] = 1
    assert not game.step(action).idle


def test_to_make_something_is_idle_only_without_what_it_takes() -> None:
    game = Game(DAY, 0)
    material(game, 1, 1, "table")
    assert game.step("make_wood_pickaxe").idle
    game._player.inventory["wood"] = 1
    assert not game.step("make_wood_pickaxe").idle
