"""The one-line rationale of a decision: the goal, where its target is, what is faced."""

from actors.teacher.memory import NAME, NUM_CELLS, Memory, offset


def where(memory: Memory, cell: int) -> str:
    """A cell as seen from the player: `3 right 2 up`."""
    dx, dy = offset(memory.here, cell)
    across = f"{abs(dx)} {'right' if dx > 0 else 'left'}" if dx else ""
    down = f"{abs(dy)} {'down' if dy > 0 else 'up'}" if dy else ""
    return " ".join(part for part in (across, down) if part) or "here"


def faced(memory: Memory) -> str:
    """What the player faces, in the words of the state text."""
    cell = (memory.here + memory.facing) % NUM_CELLS
    return memory.creatures.get(cell) or NAME[memory.tile(cell)]


def rationale(memory: Memory, goal: str, target: int | None = None, name: str = "") -> str:
    """Put the parts together."""
    there = f" {name} {where(memory, target)};" if target is not None else ""
    return f"Goal: {goal};{there} facing {faced(memory)}."
