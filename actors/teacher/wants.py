"""What is worth going for now: every useful target in reach, and its worth."""

from typing import Final

from actors.teacher.craft import FURNACE_STONE, craftable, needs
from actors.teacher.goals import TILE_OF_GOAL, Goal
from actors.teacher.memory import FURNACE, NUM_CELLS, SIDE, TABLE
from actors.teacher.paths import UNIT
from actors.teacher.situation import Situation

EAT_COW: Final = "eat cow"
_HITTING: Final = 3 * UNIT
_SPARE_STONES: Final = 6
_FOOD_STEPS, _DRINK_STEPS = 26, 21
"""Environment steps in which food and drink fall by one (objects.py of crafter 1.8.3)."""
_RESERVE: Final = 20
_FIT_TO_HUNT: Final = 5


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
        "drink": _thirst(situation),
        "eat the ripe plant": 3.0 if "eat_plant" not in situation.unlocked else 0.5,
    }


def _thirst(situation: Situation) -> float:
    drink = situation.inventory["drink"]
    value = 0.0 if "collect_drink" in situation.unlocked else 1.2
    if drink * _DRINK_STEPS + _RESERVE > situation.remaining:
        return value
    if situation.dusk and drink <= 6:
        value += 3.0
    if drink <= 3:
        return value + 6.0
    return value + (2.0 if drink <= 5 else 0.6 if drink <= 8 else 0.0)


def _hunger(situation: Situation) -> float:
    food = situation.inventory["food"]
    value = 0.0 if "eat_cow" in situation.unlocked else 1.2
    if food * _FOOD_STEPS + _RESERVE > situation.remaining:
        return value
    if situation.dusk and food <= 6:
        value += 3.0
    if food <= 3:
        return value + 7.0
    return value + (3.0 if food <= 5 else 0.8 if food <= 7 else 0.0)


def _creatures(situation: Situation) -> list[Goal]:
    memory, unlocked = situation.memory, situation.unlocked
    armed = sum(situation.inventory[f"{kind}_sword"] for kind in ("wood", "stone", "iron"))
    found: list[tuple[str, int, float]] = []
    if hunger := _hunger(situation):
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
