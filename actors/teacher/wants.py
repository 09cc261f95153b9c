"""What is worth going for now: every useful target in reach, and its worth."""

from dataclasses import dataclass
from typing import Final

from actors.teacher.craft import FURNACE_STONE, craftable, needs
from actors.teacher.goals import TILE_OF_GOAL, Goal
from actors.teacher.memory import FURNACE, NUM_CELLS, SIDE, TABLE
from actors.teacher.paths import UNIT
from actors.teacher.situation import Situation

EAT_COW: Final = "eat cow"
_HITTING: Final = 3 * UNIT
_SPARE_STONES: Final = 6
_RESERVE: Final = 20
_FIT_TO_HUNT: Final = 5


@dataclass(frozen=True, slots=True)
class _Vital:
    item: str
    achievement: str
    """Of the first meal or drink."""
    steps: int
    """Environment steps in which it falls by one (objects.py of crafter 1.8.3)."""
    worth: tuple[tuple[int, float], ...]
    """(level, worth of a meal at that level or below), the lowest first."""


_DRINK: Final = _Vital("drink", "collect_drink", 21, ((3, 6.0), (5, 2.0), (8, 0.6)))
_FOOD: Final = _Vital("food", "eat_cow", 26, ((3, 7.0), (5, 3.0), (7, 0.8)))


def options(situation: Situation) -> list[Goal]:
    """All targets worth something now; of tiles the nearest of each kind."""
    goals = []
    for kind, value in (_materials(situation) | _vitals(situation)).items():
        found = situation.reach.nearest[TILE_OF_GOAL[kind]]
        if value and found is not None:
            cost, stand, target = found
            goals.append(Goal(kind, target, stand, cost, value))
    return goals + _creatures(situation) + _workshops(situation)


def _materials(situation: Situation) -> dict[str, float]:
    inventory, unlocked = situation.inventory, situation.unlocked
    need = needs(inventory, unlocked)
    wood = inventory["wood"]
    values = {
        "collect wood": 3.0 if wood < need.wood_now else 1.2 if wood < need.wood_later else 0.0
    }
    if inventory["wood_pickaxe"]:
        values["collect stone"] = _stone(situation, need.stone_now)
        coal = 1.8 if "collect_coal" not in unlocked else 1.0
        values["collect coal"] = coal if inventory["coal"] < need.coal else 0.0
    if inventory["stone_pickaxe"]:
        values["collect iron"] = 3.0 if inventory["iron"] < need.iron else 0.0
    if inventory["iron_pickaxe"]:
        values["collect diamond"] = 4.0 if "collect_diamond" not in unlocked else 0.0
    return values


def _stone(situation: Situation, stone_now: int) -> float:
    stone = situation.inventory["stone"]
    if "collect_stone" not in situation.unlocked:
        return 4.0
    if stone < stone_now:
        return 2.5
    return 0.3 if stone < _SPARE_STONES else 0.0


def _vitals(situation: Situation) -> dict[str, float]:
    return {
        "drink": _want(situation, _DRINK),
        "eat the ripe plant": 3.0 if "eat_plant" not in situation.unlocked else 0.5,
    }


def _want(situation: Situation, vital: _Vital) -> float:
    """What it is worth to eat or drink now."""
    level = situation.inventory[vital.item]
    value = 0.0 if vital.achievement in situation.unlocked else 1.2
    if level * vital.steps + _RESERVE > situation.remaining:
        return value
    if situation.dusk and level <= 6:
        value += 3.0
    return value + next((worth for most, worth in vital.worth if level <= most), 0.0)


def _creatures(situation: Situation) -> list[Goal]:
    memory, unlocked = situation.memory, situation.unlocked
    armed = sum(situation.inventory[f"{kind}_sword"] for kind in ("wood", "stone", "iron"))
    found: list[tuple[str, int, float]] = []
    if hunger := _want(situation, _FOOD):
        found += [(EAT_COW, cell, hunger) for cell in sorted(memory.cows)]
    fit = memory.health >= _FIT_TO_HUNT
    if fit and "defeat_zombie" not in unlocked:
        value = 1.0 + 0.5 * armed
        found += [("defeat zombie", cell, value) for cell in situation.creatures("zombie")]
    if fit and armed and "defeat_skeleton" not in unlocked:
        value = 2.0 + 0.4 * armed
        found += [("defeat skeleton", cell, value) for cell in situation.creatures("skeleton")]
    goals = []
    for kind, cell, value in found:
        stand = situation.reach.beside(cell)
        if stand is not None:
            goals.append(Goal(kind, cell, stand[1], stand[0] + _HITTING, value))
    return sorted(goals, key=lambda goal: goal.cost)


def _workshops(situation: Situation) -> list[Goal]:
    """Known tables, with a furnace or the stones for one, at which something can be made."""
    memory, inventory = situation.memory, situation.inventory
    goals = []
    for table in sorted(memory.sites[TABLE]):
        if memory.tile(table) != TABLE:
            continue
        furnaces = [
            cell
            for cell in memory.sites[FURNACE]
            if memory.tile(cell) == FURNACE and _within(cell, table, 2)
        ]
        furnace = bool(furnaces) or inventory["stone"] >= FURNACE_STONE
        tools = craftable(inventory, furnace=furnace)
        stand = _stand(situation, table, furnaces) if tools else None
        if stand is not None:
            goals.append(Goal("make tools", table, stand[1], stand[0], 2.0 * len(tools)))
    return goals


def _within(one: int, other: int, reach: int) -> bool:
    return abs(one % SIDE - other % SIDE) <= reach and abs(one // SIDE - other // SIDE) <= reach


def _stand(situation: Situation, table: int, furnaces: list[int]) -> tuple[int, int] | None:
    """(cost, cell) from which the table is near, and a furnace too if there is one."""
    around = [(table + dx + dy * SIDE) % NUM_CELLS for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    stands = [
        (cost, cell)
        for cell in around
        if (cost := situation.reach.cost.get(cell)) is not None
        and situation.memory.can_craft_at(cell)
        and (not furnaces or any(_within(cell, furnace, 1) for furnace in furnaces))
    ]
    return min(stands) if stands else None
