"""The teacher, on maps drawn by hand and in the real game."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.game import Game
from actors.parse import parse
from actors.teacher.memory import DOWN, LAVA, LEFT, RIGHT, STONE, UP, Memory, cell_at
from actors.teacher.paths import Reach, Script, step_costs, survey
from actors.teacher.shelter import enclosed
from actors.teacher.situation import Decision
from actors.teacher.teacher import Teacher
from actors.tool import render_call
from cluster.names import ITEMS, TILES
from cluster.types import Observation, ParseOutcome
from configs.play import EnvConfig
from tests.builders import START
from tests.drawn import STARTED, STEP_OF, Sheet, seen

BUILT: Final = (*STARTED, "collect_wood", "place_table")
LAVA_RING: Final = """
.........
.........
...LLL...
...L@L...
...LTL...
.........
........."""


def remembered(drawing: str, held: dict[str, int] | None = None) -> tuple[Memory, Reach]:
    observation = seen(drawing, held)
    memory = Memory()
    memory.update(observation)
    costs = step_costs(observation.inventory, daylight=1.0)
    return memory, survey(memory, costs, {}, limit=1000)


def walk(sheet: Sheet, num_decisions: int, max_actions: int = 5) -> list[Decision]:
    teacher = Teacher(max_actions, seed=0)
    decisions = []
    for _ in range(num_decisions):
        decisions.append(teacher.decide(sheet.observe()))
        for action in decisions[-1].actions:
            sheet.step(action)
    return decisions


def play(seed: int, length: int, max_actions: int = 5) -> Iterator[tuple[Observation, Decision]]:
    """The real game, with the rest of a list dropped at damage; the last one is after the end."""
    game, teacher = Game(EnvConfig(length=length), seed), Teacher(max_actions, seed=0)
    over = False
    while not over:
        observation = game.observe()
        decision = teacher.decide(observation)
        yield observation, decision
        for action in decision.actions:
            step = game.step(action)
            over = step.terminated or step.truncated
            if over or step.damaged:
                break
    yield game.observe(), decision


def test_memory_keeps_what_left_the_view() -> None:
    rows = ["D........", *["........."] * 2, "....@....", *["........."] * 3]
    memory = Memory()
    memory.update(seen("\n".join(rows)))
    memory.update(replace(START, displacement=(9, 0)))
    assert memory.tile(cell_at(-4, -3)) == TILES.index("diamond") + 1


def test_a_creature_hides_its_ground_but_not_from_memory() -> None:
    rows = ["........."] * 3 + ["....@,..."] + ["........."] * 3
    memory = Memory()
    memory.update(seen("\n".join(rows)))
    memory.update(seen("\n".join(rows).replace("@,", "@Z")))
    assert memory.tile(cell_at(1, 0)) == TILES.index("path") + 1


def test_no_way_leads_through_lava() -> None:
    memory, reach = remembered(LAVA_RING)
    assert all(memory.tile(cell) != LAVA for cell in reach.cost)
    # Out of the ring only through the tree: turn, fell, step and a little for the trouble.
    assert reach.cost[cell_at(0, 1)] == 25


@pytest.mark.parametrize(("pickaxes", "reached"), [(0, False), (1, True)])
def test_stone_is_dug_only_with_a_pickaxe(pickaxes: int, reached: bool) -> None:
    wall = "\n".join([".....#..."] * 3 + ["....@#..."] + [".....#..."] * 3)
    _, reach = remembered(wall, {"wood_pickaxe": pickaxes})
    assert (cell_at(2, 0) in reach.cost) is reached


def test_a_list_stops_where_a_blocked_move_would_lead_into_lava() -> None:
    rows = ["........."] * 3 + ["....@...."] + ["....L...."] + ["........."] * 2
    memory, _ = remembered("\n".join(rows))
    script = Script(memory, limit=5)
    # Were a creature to block the step right, the step down would be the last.
    script.follow([cell_at(1, 0), cell_at(1, 1)])
    assert script.actions == ["move_right"]


def test_stones_that_guard_a_plant_are_not_taken_for_others() -> None:
    rows = ["........."] * 3 + ["....@#p.."] + ["........."] * 3
    _, reach = remembered("\n".join(rows), {"wood_pickaxe": 1})
    assert reach.nearest[STONE] is None


def test_next_to_a_table_it_makes_all_it_can() -> None:
    rows = ["........."] * 3 + ["....@t..."] + ["........."] * 3
    observation = seen("\n".join(rows), {"wood": 2}, achievements=BUILT)
    decision = Teacher(5, seed=0).decide(observation)
    assert decision.actions == ("make_wood_pickaxe", "make_wood_sword")


def test_on_the_upper_edge_it_makes_nothing_because_crafter_sees_no_table_there() -> None:
    rows = ["         "] * 3 + ["....@t..."] + ["........."] * 3
    observation = seen("\n".join(rows), {"wood": 2}, achievements=BUILT)
    decision = Teacher(5, seed=0).decide(observation)
    assert not any(action.startswith("make_") for action in decision.actions)


def test_it_faces_a_zombie_at_its_side_and_strikes() -> None:
    rows = ["........."] * 3 + ["...Z@...."] + ["........."] * 3
    observation = seen("\n".join(rows), achievements=STARTED)
    assert Teacher(5, seed=0).decide(observation).actions == ("move_left",)
    turned = replace(observation, facing=(-1, 0), step=1)
    assert Teacher(5, seed=0).decide(turned).actions == ("do",)


def test_it_does_not_waver_between_equal_targets() -> None:
    sheet = Sheet(["." * 32] * 16, x=15, y=8)
    sheet.rows[8][11] = sheet.rows[8][19] = "T"
    decisions = walk(sheet, num_decisions=4, max_actions=1)
    assert len({decision.actions for decision in decisions[:3]}) == 1
    assert decisions[3].actions == ("do",)


def test_what_was_never_shown_changes_nothing() -> None:
    rows = [("." * 7 + "T" + "." * 5) * 4 for _ in range(40)]
    first = Sheet(rows, x=24, y=20)
    played = walk(first, num_decisions=15)
    hidden = [
        "".join(char if (x, y) in first.shown else "D" for x, char in enumerate(row))
        for y, row in enumerate(rows)
    ]
    assert hidden != rows
    assert walk(Sheet(hidden, x=24, y=20), num_decisions=15) == played


def test_asleep_it_sleeps_no_longer_than_needed() -> None:
    teacher = Teacher(20, seed=0)
    drowsy = START.inventory | {"energy": 8}
    awake = replace(START, step=50, inventory=drowsy)
    teacher.decide(awake)
    decision = teacher.decide(replace(awake, step=51, sleeping=True))
    # 11 steps give back the missing energy; one is already slept.
    assert decision.actions == ("sleep",) * 10


@pytest.mark.parametrize(("side", "closed"), [("#", True), ("~", True), (".", False), ("L", False)])
def test_a_shelter_is_closed_where_nothing_can_walk_in(side: str, closed: bool) -> None:
    rows = ["#########"] * 3 + [f"####@{side}..."] + ["#########"] * 3
    memory, _ = remembered("\n".join(rows))
    assert enclosed(memory) is closed


def test_tired_in_a_tunnel_it_walls_itself_in_and_sleeps() -> None:
    rows = ["#" * 30] * 20 + ["#" * 10 + "," * 10 + "#" * 10] + ["#" * 30] * 20
    teacher = Teacher(1, seed=0)
    sheet = Sheet(rows, x=15, y=20)
    stones = 2
    for _ in range(12):
        observation = sheet.observe()
        held = observation.inventory | {"energy": 1, "stone": stones, "wood_pickaxe": 1}
        tired = replace(observation, inventory=held, achievements=(*BUILT, "place_stone"))
        action = teacher.decide(tired).actions[0]
        if action == "sleep":
            break
        if action == "place_stone":
            x, y = (a + b for a, b in zip(sheet.place, sheet.facing, strict=True))
            sheet.rows[y][x] = "#"
            stones -= 1
        sheet.step(action)
    assert action == "sleep"
    assert stones >= 0


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_observation_gets_a_legal_call(data: st.DataObject) -> None:
    max_actions = data.draw(st.integers(1, 8))
    teacher = Teacher(max_actions, seed=data.draw(st.integers(0, 2**31)))
    step = 0
    for _ in range(data.draw(st.integers(1, 4))):
        cells = data.draw(st.lists(st.sampled_from(TILES), min_size=63, max_size=63))
        cells[31] = "player"
        step += data.draw(st.integers(1, 40))
        observation = replace(
            START,
            step=step,
            view=tuple(tuple(cells[row * 9 : row * 9 + 9]) for row in range(7)),
            inventory={item: data.draw(st.integers(0, 9)) for item in ITEMS},
            facing=data.draw(st.sampled_from([(0, 1), (0, -1), (1, 0), (-1, 0)])),
            displacement=data.draw(st.tuples(st.integers(-600, 600), st.integers(-600, 600))),
            sleeping=data.draw(st.booleans()),
            daylight=data.draw(st.floats(0, 1)),
        )
        decision = teacher.decide(observation)
        parsed = parse(render_call(decision.actions, decision.rationale), max_actions)
        assert parsed.outcome is ParseOutcome.OK
        assert "\n" not in decision.rationale


@pytest.mark.parametrize("max_actions", [1, 3, 20])
def test_in_the_game_every_call_is_legal(max_actions: int) -> None:
    for _, decision in play(seed=max_actions, length=150, max_actions=max_actions):
        text = render_call(decision.actions, decision.rationale)
        assert parse(text, max_actions).outcome is ParseOutcome.OK


def test_equal_games_are_played_alike() -> None:
    assert list(play(seed=5, length=120)) == list(play(seed=5, length=120))


def test_no_list_of_moves_leads_into_lava() -> None:
    num_beside_lava = 0
    for observation, decision in play(seed=84, length=300):
        x, y = 4, 3
        for action in decision.actions:
            if action not in STEP_OF or not (0 < x < 8 and 0 < y < 6):
                break
            around = [observation.view[y + dy][x + dx] for dx, dy in STEP_OF.values()]
            num_beside_lava += "lava" in around
            dx, dy = STEP_OF[action]
            tile = observation.view[y + dy][x + dx]
            assert tile != "lava"
            if tile in ("grass", "sand", "path"):
                x, y = x + dx, y + dy
    assert num_beside_lava, "this world shows nothing: choose another seed"


def test_it_masters_worlds_that_it_was_not_made_on() -> None:
    counts = []
    for seed in range(20000, 20008):
        *_, (last, _) = play(seed, length=300)
        counts.append(len(last.achievements))
    assert sum(counts) / len(counts) >= 14, counts


def test_names_of_the_four_steps_agree_with_the_map() -> None:
    around = [cell_at(-1, 0), cell_at(1, 0), cell_at(0, -1), cell_at(0, 1)]
    assert [cell_at(0, 0) + step for step in (LEFT, RIGHT, UP, DOWN)] == around
