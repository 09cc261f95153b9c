"""Growing a plant to eat: where to plant, how to fence it in, when to come back."""

from typing import Final

from actors.teacher.goals import Goal
from actors.teacher.memory import GRASS, NUM_CELLS, PLANT, STEPS, TREE, WALKABLE, WATER, distance
from actors.teacher.paths import UNIT
from actors.teacher.shelter import is_solid
from actors.teacher.situation import Situation

VISIT: Final = "visit the plant"
RIPE_AGE: Final = 305
"""Steps spent near a plant until it can be eaten (301), with some for planting and counting."""
_FENCE_STONES: Final = 4
_GAP_COST: Final = 5 * UNIT
_SEARCH: Final = 12 * UNIT
_PLANT_VALUE, _FENCE_VALUE, _VISIT_VALUE = 5.0, 8.0, 4.0
_GOALS: Final = {"place_plant": "plant the sapling", "place_stone": "fence the plant"}
_BRIGHT: Final = 0.8
_ATTENTION: Final = 25
"""Steps away up to which a plant is worth a walk to fence it."""


def garden_goals(situation: Situation) -> list[Goal]:
    """Plant, fence or visit, as far as `eat_plant` is still to be had in the time left."""
    memory = situation.memory
    if "eat_plant" in situation.unlocked or "place_plant" not in situation.unlocked:
        return []
    living = [cell for cell in memory.sites[PLANT] if memory.tile(cell) == PLANT]
    goals = [goal for cell in living for goal in _care(situation, cell)]
    if not any(distance(memory.here, cell) <= _ATTENTION for cell in living):
        goals += _planting(situation)
    return goals


def _care(situation: Situation, plant: int) -> list[Goal]:
    memory = situation.memory
    wait = max(0, RIPE_AGE - memory.plants.get(plant, 0))
    found = situation.reach.beside(plant)
    if found is None or found[0] // UNIT + wait > situation.remaining:
        return []
    gaps = [cell for step in STEPS if not is_solid(memory, cell := (plant + step) % NUM_CELLS)]
    goals = []
    if gaps and situation.inventory["stone"] and found[0] <= _ATTENTION * UNIT:
        fences = [put(situation, cell, "place_stone", _FENCE_VALUE) for cell in gaps]
        goals += [fence for fence in fences if fence is not None]
    if not gaps or not wait:
        goals.append(Goal(VISIT, plant, found[1], found[0] + wait * UNIT, _VISIT_VALUE))
    return goals


def _planting(situation: Situation) -> list[Goal]:
    memory, inventory = situation.memory, situation.inventory
    if (
        not inventory["sapling"]
        or inventory["stone"] < _FENCE_STONES
        or situation.remaining < RIPE_AGE + 60
        or situation.observation.daylight < _BRIGHT
        or not inventory["stone_pickaxe"]
        or "place_furnace" not in situation.unlocked
    ):
        return []
    best: Goal | None = None
    for cell, cost in situation.reach.cost.items():
        if cost > _SEARCH or memory.tile(cell) != GRASS or not memory.is_open(cell):
            continue
        gaps = sum(not is_solid(memory, (cell + step) % NUM_CELLS) for step in STEPS)
        goal = put(situation, cell, "place_plant", _PLANT_VALUE, extra=gaps * _GAP_COST)
        if goal is not None and (best is None or goal.cost < best.cost):
            best = goal
    return [best] if best else []


def put(
    situation: Situation, target: int, action: str, value: float, extra: int = 0
) -> Goal | None:
    """The goal of placing something on a free cell: it is faced by walking towards it."""
    memory, costs = situation.memory, situation.reach.cost
    if not memory.is_open(target):
        return None
    if (memory.here + memory.facing) % NUM_CELLS == target:
        return Goal(_GOALS[action], target, memory.here, extra, value, action)
    best: tuple[int, int] | None = None
    for step in STEPS:
        stand, start = (target - step) % NUM_CELLS, (target - 2 * step) % NUM_CELLS
        if start not in costs or stand not in costs or memory.tile(stand) in (TREE, WATER):
            continue
        if memory.tile(start) not in WALKABLE or not memory.is_open(stand):
            continue
        if best is None or (costs[start], start) < best:
            best = (costs[start], start)
    if best is None:
        return None
    return Goal(_GOALS[action], target, best[1], best[0] + 2 * UNIT + extra, value, action)
