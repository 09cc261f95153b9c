"""Where to sleep: two cells in a line or a square of four, dug and closed with stones."""

from dataclasses import dataclass
from typing import Final

from actors.teacher.memory import (
    DOWN,
    LAVA,
    LEFT,
    NUM_CELLS,
    RIGHT,
    STEPS,
    STONE,
    TREE,
    UNKNOWN,
    UP,
    WALKABLE,
    WATER,
    Memory,
    distance,
)
from actors.teacher.paths import UNIT, Script, step_between
from actors.teacher.situation import Decision, Situation
from actors.teacher.words import rationale

_MOST_CELLS: Final = 6
_SEARCH: Final = 25 * UNIT
_GAP_COST: Final = 2 * UNIT
_SHAPES: Final = (
    (0, RIGHT),
    (0, LEFT),
    (0, UP),
    (0, DOWN),
    (0, RIGHT, DOWN, RIGHT + DOWN),
    (0, RIGHT, UP, RIGHT + UP),
    (0, LEFT, DOWN, LEFT + DOWN),
    (0, LEFT, UP, LEFT + UP),
)
"""Steps from the cell where one enters. A gap in a wall can be closed by whoever walks towards
it, so it needs a cell of the shelter behind the one it opens on: two in a line have that at
their ends, a square has it all around."""


@dataclass(frozen=True, slots=True)
class Pocket:
    """Cells to be walled in; the first is where to enter."""

    cells: tuple[int, ...]

    def gaps(self, memory: Memory) -> list[tuple[int, int]]:
        """(cell inside, step outwards) wherever something could come in."""
        return [
            (cell, step)
            for cell in self.cells
            for step in STEPS
            if (near := (cell + step) % NUM_CELLS) not in self.cells and not is_solid(memory, near)
        ]


def is_solid(memory: Memory, cell: int) -> bool:
    """Nothing can come through: neither ground nor lava nor the unknown."""
    return memory.tile(cell) not in WALKABLE and memory.tile(cell) not in (LAVA, UNKNOWN)


def enclosed(memory: Memory) -> bool:
    """Whether the ground around the player is a closed pocket without creatures."""
    seen, queue = {memory.here}, [memory.here]
    while queue:
        cell = queue.pop()
        for step in STEPS:
            near = (cell + step) % NUM_CELLS
            if near in seen or is_solid(memory, near):
                continue
            if memory.tile(near) not in WALKABLE or near in memory.creatures:
                return False
            seen.add(near)
            queue.append(near)
            if len(seen) > _MOST_CELLS:
                return False
    return True


def find_pocket(situation: Situation) -> Pocket | None:
    """The cheapest pocket in reach for which there are stones enough."""
    memory, reach = situation.memory, situation.reach
    best: tuple[int, int, Pocket] | None = None
    for mouth, cost in reach.cost.items():
        if cost > _SEARCH or (best is not None and cost >= best[0]):
            continue
        if memory.tile(mouth) in (TREE, WATER):
            continue
        for index, shape in enumerate(_SHAPES):
            pocket = Pocket(tuple((mouth + step) % NUM_CELLS for step in shape))
            extra = _closing_cost(situation, pocket)
            if extra is not None and (best is None or (cost + extra, index) < best[:2]):
                best = (cost + extra, index, pocket)
    return best[2] if best else None


def _closing_cost(situation: Situation, pocket: Pocket) -> int | None:
    memory, cells = situation.memory, pocket.cells
    for cell in cells:
        if cell not in situation.reach.cost or memory.tile(cell) in (TREE, WATER):
            return None
        if cell in memory.creatures:
            return None
    gaps = pocket.gaps(memory)
    for cell, step in gaps:
        outside = (cell + step) % NUM_CELLS
        if memory.tile(outside) not in WALKABLE or (cell - step) % NUM_CELLS not in cells:
            return None
    dug = sum(memory.tile(cell) == STONE for cell in cells)
    if situation.inventory["stone"] + dug < len(gaps):
        return None
    return len(gaps) * _GAP_COST + dug * 2 * UNIT


def enter(situation: Situation, pocket: Pocket) -> Decision | None:
    """The next actions towards being closed in; none when the pocket cannot be had any more."""
    memory = situation.memory
    script = situation.script()
    if memory.here in pocket.cells:
        _close(memory, pocket, script, situation.inventory["stone"])
    elif pocket.cells[0] in situation.reach.cost:
        script.follow(situation.reach.route(pocket.cells[0]))
    if not script.actions:
        return None
    goal = "shut in to rest safely"
    return Decision(tuple(script.actions), rationale(memory, goal, pocket.cells[0], "shelter"))


def _close(memory: Memory, pocket: Pocket, script: Script, stones: int) -> None:
    gaps = pocket.gaps(memory)
    if len(gaps) > stones:
        return
    if (memory.here, memory.facing) in gaps:
        script.add("place_stone")
        gaps.remove((memory.here, memory.facing))
    runs = sorted(
        (distance(memory.here, start), step, start)
        for cell, step in gaps
        if (start := (cell - step) % NUM_CELLS) in pocket.cells
    )
    if not runs:
        return
    away, step, start = runs[0]
    if not away:
        script.go(step)
        script.add("place_stone")
        return
    towards = [
        cell
        for near in STEPS
        if (cell := (memory.here + near) % NUM_CELLS) in pocket.cells
        and distance(cell, start) < away
    ]
    script.go(step_between(memory.here, towards[0]))
