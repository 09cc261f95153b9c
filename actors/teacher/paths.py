"""Ways over the remembered map: cheapest routes with digging and bridging, and their actions."""

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from actors.teacher.memory import (
    COAL,
    DIAMOND,
    FENCE,
    GRASS,
    IRON,
    LAVA,
    MOVES,
    NUM_CELLS,
    NUM_CODES,
    PATH,
    SAND,
    STEPS,
    STONE,
    TREE,
    UNKNOWN,
    WALKABLE,
    WATER,
    Memory,
)

UNIT: Final = 10
"""Costs are whole tenths of an environment step."""
_DIG: Final = 25
_BRIDGE: Final = 50
_BREACH: Final = 120
"""Of a plant's fence."""
_LAVA_RIM: Final = 40
_BROAD_DAY, _DARK = 0.8, 0.5
_DUSK_GRASS: Final = 14
_DARK_GRASS: Final = 25
_MASK: Final = NUM_CELLS - 1
_SHIFT: Final = NUM_CELLS.bit_length() - 1


@dataclass(frozen=True, slots=True)
class Reach:
    """What can be reached from where one stands, and at which cost."""

    start: int
    cost: dict[int, int]
    """Tenths of a step to stand on each cell."""
    came: dict[int, int]
    """The cell before each cell on its cheapest route."""
    nearest: list[tuple[int, int, int] | None]
    """By tile code: (cost, cell to stand on, tile's cell) of the cheapest tile to stand beside."""

    def route(self, goal: int) -> list[int]:
        """Cells after the start up to the goal; the goal must have been reached."""
        cells = []
        while goal != self.start:
            cells.append(goal)
            goal = self.came[goal]
        return cells[::-1]

    def beside(self, target: int) -> tuple[int, int] | None:
        """(cost, cell) of the cheapest stand next to a cell; none if out of reach."""
        stands = [
            (cost, stand)
            for step in STEPS
            if (cost := self.cost.get(stand := (target + step) % NUM_CELLS)) is not None
        ]
        return min(stands) if stands else None


def step_costs(inventory: dict[str, int], daylight: float) -> list[int]:
    """Cost by tile code of getting onto a tile; 0 where there is no way. Never through lava.

    Zombies come up on grass, the more the darker it is, so grass is dearer then.
    """
    costs = [0] * NUM_CODES
    costs[SAND] = costs[PATH] = UNIT
    costs[GRASS] = _DARK_GRASS
    if daylight >= _DARK:
        costs[GRASS] = UNIT if daylight > _BROAD_DAY else _DUSK_GRASS
    costs[TREE] = _DIG
    if inventory["wood_pickaxe"]:
        costs[STONE] = costs[COAL] = _DIG
        costs[FENCE] = _BREACH
        if inventory["stone"]:
            costs[WATER] = _BRIDGE
    if inventory["stone_pickaxe"]:
        costs[IRON] = _DIG
    if inventory["iron_pickaxe"]:
        costs[DIAMOND] = _DIG
    return costs


def survey(memory: Memory, costs: list[int], danger: dict[int, int], limit: int) -> Reach:
    """Dijkstra over the known cells, up to `limit` tenths of a step.

    Args:
        memory: the map.
        costs: of `step_costs`.
        danger: added to the cost of single cells, such as those of creatures.
        limit: nothing dearer is looked at.
    """
    grid, start = memory.grid, memory.here
    best = {start: 0}
    came: dict[int, int] = {}
    nearest: list[tuple[int, int, int] | None] = [None] * NUM_CODES
    heap = [start]
    while heap:
        item = heappop(heap)
        cost, cell = item >> _SHIFT, item & _MASK
        if cost > best[cell]:
            continue
        for step in STEPS:
            near = (cell + step) & _MASK
            code = grid[near]
            if nearest[code] is None:
                nearest[code] = (cost, cell, near)
            price = costs[code]
            if price:
                total = cost + price + danger.get(near, 0)
                if total < best.get(near, limit):
                    best[near] = total
                    came[near] = cell
                    heappush(heap, total << _SHIFT | near)
    return Reach(start, best, came, nearest)


def lava_rims(memory: Memory) -> dict[int, int]:
    """Extra cost of the cells beside known lava."""
    return {(lava + step) % NUM_CELLS: _LAVA_RIM for lava in memory.sites[LAVA] for step in STEPS}


class Script:
    """A list of actions under construction, with where it would lead if all goes well."""

    def __init__(self, memory: Memory, limit: int) -> None:
        self.memory = memory
        self.limit = limit
        self.actions: list[str] = []
        self.cell = memory.here
        self.facing = memory.facing
        self._possible = {memory.here}
        self._changed: set[int] = set()
        self.stopped = False

    def add(self, action: str) -> None:
        """Append an action, unless the list is full or was stopped."""
        if self.stopped or len(self.actions) >= self.limit:
            self.stopped = True
            return
        self.actions.append(action)

    def move(self, step: int) -> None:
        """Append a move, unless a creature in the way could turn it into a step to ruin.

        Every earlier move may have been blocked; from no place where one could then stand may
        this move lead into lava or the unknown.
        """
        landings = {(cell + step) % NUM_CELLS for cell in self._possible}
        if self.actions and any(self.memory.tile(cell) in (LAVA, UNKNOWN) for cell in landings):
            self.stopped = True
            return
        self.add(MOVES[step])
        if not self.stopped:
            self._possible |= {cell for cell in landings if self._ground(cell)}
            self.facing = step
            target = (self.cell + step) % NUM_CELLS
            if self._ground(target) and target not in self.memory.creatures:
                self.cell = target

    def _ground(self, cell: int) -> bool:
        return self.memory.tile(cell) in WALKABLE or cell in self._changed

    def face(self, step: int) -> None:
        """Turn towards a neighbour that cannot be stepped onto."""
        if self.facing != step:
            self.move(step)

    def go(self, step: int) -> None:
        """Get onto the next cell, digging or bridging as its tile asks."""
        target = (self.cell + step) % NUM_CELLS
        code = self.memory.tile(target)
        if not self._ground(target):
            self.face(step)
            if code == WATER:
                self.add("place_stone")
            self.add("do")
            self._changed.add(target)
        self.move(step)
        if self.cell != target:
            self.stopped = True

    def follow(self, route: list[int]) -> None:
        """Walk a route of neighbouring cells, as far as the list may go."""
        for cell in route:
            if self.stopped:
                return
            self.go(step_between(self.cell, cell))


def step_between(cell: int, neighbour: int) -> int:
    """The step from a cell to one next to it."""
    return next(step for step in STEPS if (cell + step) % NUM_CELLS == neighbour)
