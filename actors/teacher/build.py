"""Making tools and placing things: what can be done on the spot."""

from collections.abc import Container
from typing import Final

from actors.teacher.combat import enemies
from actors.teacher.craft import (
    FURNACE_STONE,
    STONE_TOOLS,
    TABLE_WOOD,
    craftable,
    missing,
    needs,
)
from actors.teacher.memory import (
    FURNACE,
    GRASS,
    LAVA,
    NUM_CELLS,
    PATH,
    STONE,
    TABLE,
    WALKABLE,
    WATER,
)
from actors.teacher.paths import UNIT, Script
from actors.teacher.situation import Decision, Situation
from actors.teacher.words import rationale

_FAR_TABLE: Final = 9 * UNIT
_TIME_FOR_A_PLANT: Final = 700
"""Steps left from which on a second sapling, to be grown and eaten, is worth the time."""
_EARLY: Final = 60
_WARY_STEPS: Final = 10


def make_tools(situation: Situation) -> Decision | None:
    """Make every missing tool that the table at hand and the inventory allow."""
    memory = situation.memory
    if not memory.near(TABLE) or not memory.can_craft_at(memory.here):
        return None
    tools = craftable(situation.inventory, furnace=memory.near(FURNACE))
    if not tools:
        return None
    actions = tuple(f"make_{tool}" for tool in tools[: situation.limit])
    return Decision(actions, rationale(memory, "make " + ", ".join(tools)))


def place_first_stone(situation: Situation) -> Decision | None:
    """Place a stone where one stands, for the achievement, and take it back."""
    memory = situation.memory
    front = situation.faced()
    if "place_stone" in situation.unlocked or not situation.inventory["stone"]:
        return None
    if memory.is_open(front) or memory.tile(front) in (WATER, LAVA):
        actions = ("place_stone", "do")[: situation.limit]
        return Decision(actions, rationale(memory, "place a stone and take it back"))
    return _placing(situation, "place_stone", WALKABLE, "place a stone")


def place_plant(situation: Situation) -> Decision | None:
    """Plant a sapling, for the achievement."""
    if "place_plant" in situation.unlocked or not situation.inventory["sapling"]:
        return None
    return _placing(situation, "place_plant", (GRASS,), "plant the sapling")


def place_furnace(situation: Situation) -> Decision | None:
    """Place the first furnace, or one more where iron tools can be made at once."""
    memory, inventory = situation.memory, situation.inventory
    if inventory["stone"] < FURNACE_STONE:
        return None
    if "place_furnace" not in situation.unlocked:
        spare = inventory["stone"] - FURNACE_STONE
        if spare >= len(missing(inventory, STONE_TOOLS)) or memory.near(TABLE):
            return _placing(situation, "place_furnace", WALKABLE, "place a furnace")
    with_furnace, without = (craftable(inventory, furnace=there) for there in (True, False))
    if memory.near(TABLE) and not memory.near(FURNACE) and len(with_furnace) > len(without):
        return _placing(situation, "place_furnace", WALKABLE, "place a furnace for iron tools")
    return None


def place_table(situation: Situation) -> Decision | None:
    """Place a table when the tools it allows at once are worth its wood."""
    inventory, memory = situation.inventory, situation.memory
    if inventory["wood"] < TABLE_WOOD or memory.near(TABLE) or not memory.can_craft_at(memory.here):
        return None
    furnace = memory.near(FURNACE) or inventory["stone"] >= FURNACE_STONE
    tools = craftable(inventory, furnace=furnace, wood=TABLE_WOOD)
    if "place_table" not in situation.unlocked:
        ready = inventory["wood"] >= needs(inventory, situation.unlocked).wood_now
        return _table(situation) if ready and tools else None
    known = situation.reach.nearest[TABLE]
    if not tools or (known is not None and known[0] < _FAR_TABLE):
        return None
    return _table(situation)


def _table(situation: Situation) -> Decision | None:
    return _placing(situation, "place_table", WALKABLE, "place a table")


def _placing(situation: Situation, action: str, onto: Container[int], goal: str) -> Decision | None:
    """Face a free cell of the right ground, digging or stepping once if need be, and place."""
    memory = situation.memory
    script = situation.script()
    front = situation.faced()
    if not (memory.is_open(front) and memory.tile(front) in onto):
        _turn_to_room(situation, onto, script)
    if not script.actions and not (memory.is_open(front) and memory.tile(front) in onto):
        return None
    script.add(action)
    return Decision(tuple(script.actions), rationale(memory, goal))


def _turn_to_room(situation: Situation, onto: Container[int], script: Script) -> None:
    memory = situation.memory
    can_dig = situation.inventory["wood_pickaxe"] and PATH in onto
    if can_dig:
        for step, cell in situation.neighbours():
            if memory.tile(cell) == STONE and not memory.is_open((cell + step) % NUM_CELLS):
                script.face(step)
                script.add("do")
                return
    for step, cell in situation.neighbours():
        beyond = (cell + step) % NUM_CELLS
        if memory.is_open(cell) and memory.is_open(beyond) and memory.tile(beyond) in onto:
            script.move(step)
            return


def pick_sapling(situation: Situation) -> Decision | None:
    """Try for a sapling on the grass ahead: one chance in ten a try."""
    memory = situation.memory
    second = (
        situation.remaining > _TIME_FOR_A_PLANT
        and not situation.inventory["sapling"]
        and memory.step < _EARLY
    )
    if "collect_sapling" in situation.unlocked and not second:
        return None
    # Whoever stands still is shot by skeletons that are out of view.
    if enemies(memory) or memory.step - memory.hurt_step < _WARY_STEPS:
        return None
    front = situation.faced()
    script = situation.script(3)
    if not (memory.is_open(front) and memory.tile(front) == GRASS):
        _turn_to_room(situation, (GRASS,), script)
        if not script.actions:
            return None
    while not script.stopped:
        script.add("do")
    return Decision(tuple(script.actions), rationale(memory, "collect a sapling from grass"))
