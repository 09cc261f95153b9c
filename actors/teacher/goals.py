"""A goal, and the choice among goals: worth for cost, and faith to the one being pursued."""

from dataclasses import dataclass, replace
from typing import Final

from actors.teacher.memory import (
    COAL,
    DIAMOND,
    GRASS,
    IRON,
    RIPE_PLANT,
    STONE,
    TREE,
    WATER,
    Memory,
)
from actors.teacher.paths import UNIT, Reach

_BASE: Final = 4 * UNIT
"""Added to every cost, so that trifles next to the player do not outshine all else."""
_STICK: Final = 1.2
"""How much better another goal must be to leave the one being pursued."""

TILE_OF_GOAL: Final = {
    "collect wood": TREE,
    "collect stone": STONE,
    "collect coal": COAL,
    "collect iron": IRON,
    "collect diamond": DIAMOND,
    "drink": WATER,
    "collect sapling": GRASS,
    "eat the ripe plant": RIPE_PLANT,
}
"""Goals that any tile of a kind serves."""


@dataclass(frozen=True, slots=True)
class Goal:
    """Something to do at a place."""

    kind: str
    target: int
    stand: int
    """Where to walk first."""
    cost: int
    """Tenths of a step to the stand, and the work there."""
    value: float
    place: str = ""
    """The action that puts something on the target; empty where there is nothing to put."""

    @property
    def score(self) -> float:
        return self.value / (self.cost + _BASE)


def choose(goals: list[Goal], current: Goal | None, memory: Memory, reach: Reach) -> Goal | None:
    """The best goal, with a bonus for the one being pursued; none if there are none."""
    best = max(goals, key=lambda goal: goal.score, default=None)
    if current is None or best is None:
        return best
    same = _continued(goals, current, memory, reach)
    return same if same is not None and same.score * _STICK >= best.score else best


def _continued(goals: list[Goal], current: Goal, memory: Memory, reach: Reach) -> Goal | None:
    """The goal being pursued, at today's cost and value; none once it is gone or worthless."""
    alike = [goal for goal in goals if goal.kind == current.kind]
    for goal in alike:
        if goal.target == current.target:
            return goal
    code = TILE_OF_GOAL.get(current.kind)
    if not alike or code is None or memory.tile(current.target) != code:
        return None
    found = reach.beside(current.target)
    return (
        replace(alike[0], target=current.target, cost=found[0], stand=found[1]) if found else None
    )
