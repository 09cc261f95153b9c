"""Fights: who threatens, when to strike, where not to stand."""

from typing import Final

from actors.teacher.memory import NUM_CELLS, SIDE, STEPS, Memory, distance, offset
from actors.teacher.paths import UNIT
from actors.teacher.situation import Decision, Situation
from actors.teacher.words import rationale

_CREATURE_IN_WAY: Final = 6 * UNIT
_ZOMBIE_NEAR: Final = 3 * UNIT
_LINE_OF_FIRE: Final = 2 * UNIT
_ARROW_RANGE: Final = 4
_HURT, _BADLY_HURT = 6, 4
_FAR: Final = 99
_VICTORY: Final = {
    "zombie": "defeat_zombie",
    "skeleton": "defeat_skeleton",
    "arrow": "defeat_skeleton",
}


def danger(memory: Memory) -> dict[int, int]:
    """Extra cost of cells on and around creatures."""
    extra: dict[int, int] = {}
    for cell, name in memory.creatures.items():
        extra[cell] = extra.get(cell, 0) + _CREATURE_IN_WAY
        if name == "zombie":
            for step in STEPS:
                near = (cell + step) % NUM_CELLS
                extra[near] = extra.get(near, 0) + _ZOMBIE_NEAR
        elif name == "skeleton":
            for step in STEPS:
                _add_line(memory, cell, step, extra)
    return extra


def _add_line(memory: Memory, cell: int, step: int, extra: dict[int, int]) -> None:
    for _ in range(_ARROW_RANGE):
        cell = (cell + step) % NUM_CELLS
        if not memory.is_open(cell):
            return
        extra[cell] = extra.get(cell, 0) + _LINE_OF_FIRE


def strike(situation: Situation) -> Decision | None:
    """Hit what stands next to the player: zombies always, skeletons too."""
    foes = [
        (step, cell)
        for step, cell in situation.neighbours()
        if situation.memory.creatures.get(cell) in ("zombie", "skeleton")
    ]
    if not foes:
        return None
    memory = situation.memory
    step, cell = min(foes, key=lambda foe: foe[0] != memory.facing)
    script = situation.script(2)
    script.face(step)
    script.add("do")
    name = memory.creatures[cell]
    return Decision(tuple(script.actions), rationale(memory, f"fight the {name}", cell, name))


def fence_off(situation: Situation) -> Decision | None:
    """When not unhurt, put a stone between oneself and an enemy straight ahead."""
    memory = situation.memory
    front = situation.faced()
    if not situation.inventory["stone"] or not memory.is_open(front):
        return None
    for cell, name in enemies(memory).items():
        hunted = _VICTORY[name] not in situation.unlocked
        if memory.health > (_BADLY_HURT if hunted else _HURT):
            continue
        dx, dy = offset(memory.here, cell)
        straight = not (dx and dy) and abs(dx + dy) <= _ARROW_RANGE
        towards = (dx > 0) - (dx < 0) + ((dy > 0) - (dy < 0)) * SIDE
        if straight and towards == memory.facing:
            why = rationale(memory, f"wall off the {name}", cell, name)
            return Decision(("place_stone",), why)
    return None


def enemies(memory: Memory) -> dict[int, str]:
    """Zombies, skeletons and arrows in view, by cell."""
    return {cell: name for cell, name in memory.creatures.items() if name != "cow"}


def caution(memory: Memory) -> int:
    """How many actions may be decided at once: fewer the nearer the next enemy is."""
    near = min((distance(memory.here, cell) for cell in enemies(memory)), default=_FAR)
    return 1 if near <= 2 else 2 if near <= 4 else _FAR
