"""Directions in the text are directions of the moves, wherever in the world."""

from dataclasses import replace
from typing import Final, Literal

import pytest
from crafter import objects
from hypothesis import given
from hypothesis import strategies as st

from actors.game import Game
from actors.state_text import state_text
from cluster.names import TILES
from configs.play import EnvConfig
from tests.builders import START

DELTAS: Final = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
STYLES: Final[tuple[Literal["words", "grid"], ...]] = ("words", "grid")


def crossroads() -> Game:
    """A 17 x 17 lake with two sand roads from edge to edge, crossing under the player."""
    game = Game(EnvConfig(area=(17, 17), length=100), 0)
    world = game._world._world
    for thing in world.objects:
        if not isinstance(thing, objects.Player):
            world.remove(thing)
    for x in range(17):
        for y in range(17):
            world[x, y] = "sand" if 8 in (x, y) else "water"
    return game


def told(game: Game, style: Literal["words", "grid"], tile: str) -> tuple[int, int] | None:
    """(dx, dy) at which the text shows the nearest such tile."""
    text = state_text(game.observe(), style)
    if style == "grid":
        return told_by_grid(text, tile)
    return told_by_words(text).get(tile)


def told_by_words(text: str) -> dict[str, tuple[int, int]]:
    offsets = {}
    for line in text.splitlines():
        if line.startswith("- "):
            tile, _, where = line[2:].partition(": ")
            words = where.split()
            dx, dy = 0, 0
            for count, direction in zip(words[::2], words[1::2], strict=True):
                dx += int(count) * DELTAS[direction][0]
                dy += int(count) * DELTAS[direction][1]
            offsets[tile] = dx, dy
    return offsets


def told_by_grid(text: str, tile: str) -> tuple[int, int] | None:
    lines = text.splitlines()
    first = lines.index("View, top row first, you are `player`:") + 1
    rows = [line.split() for line in lines[first : first + 7]]
    places = {(x, y): name for y, row in enumerate(rows) for x, name in enumerate(row)}
    (x0, y0) = next(place for place, name in places.items() if name == "player")
    found = [(x - x0, y - y0) for (x, y), name in places.items() if name == tile]
    return min(found, key=lambda d: abs(d[0]) + abs(d[1]), default=None)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("direction", DELTAS)
def test_a_tile_named_n_away_is_reached_by_n_moves_that_way(
    direction: str, style: Literal["words", "grid"]
) -> None:
    game, (dx, dy) = crossroads(), DELTAS[direction]
    game._world._world[8 + 8 * dx, 8 + 8 * dy] = "table"  # the last tile before the edge
    sightings = 0
    for distance in range(8, 1, -1):
        offset = told(game, style, "table")
        assert offset in (None, (distance * dx, distance * dy))
        sightings += offset is not None
        assert not game.step(f"move_{direction}").blocked
    assert sightings == (3 if dx else 2)  # the view reaches 4 tiles across and 3 down
    assert told(game, style, "table") == (dx, dy)
    assert f"Facing {direction}: table." in state_text(game.observe(), style)
    assert game.step(f"move_{direction}").blocked


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("direction", DELTAS)
def test_beyond_the_edge_is_void_and_no_move_goes_there(
    direction: str, style: Literal["words", "grid"]
) -> None:
    game, (dx, dy) = crossroads(), DELTAS[direction]
    for _ in range(8):
        assert not game.step(f"move_{direction}").blocked
    assert told(game, style, "void") == (dx, dy)
    assert told(game, style, "sand") == (-dx, -dy)
    assert f"Facing {direction}: void." in state_text(game.observe(), style)
    assert game.step(f"move_{direction}").blocked
    assert told(game, style, "void") == (dx, dy)


def test_in_a_corner_of_the_world_the_text_shows_what_is_there() -> None:
    game = crossroads()
    world = game._world._world
    for x in range(9):
        world[x, 0] = "sand"
    for _ in range(8):
        game.step("move_up")
    for _ in range(8):
        game.step("move_left")
    world[1, 2] = "tree"
    assert game.observe().displacement == (-8, -8)
    assert told_by_words(state_text(game.observe(), "words")) == {
        "void": (0, -1),
        "sand": (1, 0),
        "water": (0, 1),
        "tree": (1, 2),
    }
    assert told(game, "grid", "tree") == (1, 2)


@given(
    view=st.lists(
        st.lists(st.sampled_from([t for t in TILES if t != "player"]), min_size=9, max_size=9),
        min_size=7,
        max_size=7,
    )
)
def test_the_words_name_the_nearest_tile_of_every_kind(view: list[list[str]]) -> None:
    view[3][4] = "player"
    observation = replace(START, view=tuple(map(tuple, view)))
    offsets = told_by_words(state_text(observation, "words"))
    distances: dict[str, int] = {}
    for y, row in enumerate(view):
        for x, tile in enumerate(row):
            distance = abs(x - 4) + abs(y - 3)
            distances[tile] = min(distance, distances.get(tile, distance))
    del distances["player"]
    assert {tile: abs(dx) + abs(dy) for tile, (dx, dy) in offsets.items()} == distances
    assert all(view[3 + dy][4 + dx] == tile for tile, (dx, dy) in offsets.items())


def test_the_whole_text_of_a_decision_is_as_documented() -> None:
    view = [["grass"] * 9 for _ in range(7)]
    view[3][4], view[4][4], view[1][2] = "player", "water", "tree"
    observation = replace(
        START,
        step=12,
        view=tuple(map(tuple, view)),
        inventory={**START.inventory, "drink": 7, "wood": 2, "wood_pickaxe": 1},
        sleeping=True,
        daylight=0.25,
        achievements=("collect_wood", "place_table"),
    )
    assert state_text(observation, "words") == (
        "Step 12 of 300.\n"
        "Status: health 9, food 9, drink 7, energy 9.\n"
        "Inventory: wood 2, wood_pickaxe 1.\n"
        "Facing down: water. You are asleep. It is dark.\n"
        "You see the nearest:\n"
        "- grass: 1 up\n"
        "- water: 1 down\n"
        "- tree: 2 left 2 up\n"
        "Achievements: collect_wood, place_table."
    )


def test_an_empty_inventory_and_no_achievements_are_said_so() -> None:
    text = state_text(START, "grid")
    assert "Inventory: nothing." in text
    assert "Achievements: none." in text
