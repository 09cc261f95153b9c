"""What a critic is told of a decision."""

from dataclasses import replace

import numpy as np
import pytest

from actors.game import Game
from cluster.facts import NUM_FACTS, facts_of, pack, unpack
from cluster.types import Observation
from configs.play import EnvConfig


@pytest.fixture(scope="module")
def seen() -> Observation:
    return Game(EnvConfig(), seed=3).observe()


def changed(before: Observation, after: Observation) -> int:
    return sum(a != b for a, b in zip(facts_of(before), facts_of(after), strict=True))


def with_tile(seen: Observation, row: int, column: int, tile: str) -> Observation:
    rows = [list(cells) for cells in seen.view]
    rows[row][column] = tile
    return replace(seen, view=tuple(tuple(cells) for cells in rows))


def test_there_is_one_number_of_them(seen: Observation) -> None:
    assert len(facts_of(seen)) == NUM_FACTS == 206


def test_they_come_back_from_what_travels(seen: Observation) -> None:
    rows = [facts_of(seen), facts_of(replace(seen, sleeping=True))]
    assert np.array_equal(unpack(pack(rows)), np.array(rows))


def test_a_play_is_small(seen: Observation) -> None:
    rows = [facts_of(replace(seen, daylight=step / 300)) for step in range(300)]
    assert len(pack(rows)) < 300


def test_nearness_is_told_in_four_distances(seen: Observation) -> None:
    # A 7 x 9 view with the player in row 3, column 4: 1, 2, 4 and 5 tiles away.
    for row, column, num_facts in ((3, 5, 4), (4, 5, 3), (3, 8, 2), (4, 8, 1)):
        bare = with_tile(seen, row, column, "grass")
        lava = with_tile(seen, row, column, "lava")
        near = [
            after > before for before, after in zip(facts_of(bare), facts_of(lava), strict=True)
        ]
        faced = seen.facing == (column - 4, row - 3)
        assert sum(near) == num_facts + faced


def test_two_wood_more_are_two_facts(seen: Observation) -> None:
    assert changed(seen, replace(seen, inventory={**seen.inventory, "wood": 2})) == 2


def test_a_point_of_health_is_a_fact(seen: Observation) -> None:
    assert changed(seen, replace(seen, inventory={**seen.inventory, "health": 8})) == 1


def test_an_achievement_is_a_fact(seen: Observation) -> None:
    assert changed(seen, replace(seen, achievements=("collect_wood",))) == 1


def test_light_comes_in_quarters(seen: Observation) -> None:
    lights = [replace(seen, daylight=light) for light in (0.2, 0.3, 0.6, 0.8)]
    assert [changed(lights[0], light) for light in lights] == [0, 1, 2, 3]
