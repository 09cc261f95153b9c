"""Views and worlds of Crafter drawn as text, for players that read observations."""

from dataclasses import replace
from typing import Any, Final

from cluster.types import Observation
from tests.builders import START

TILE_OF: Final = {
    ".": "grass",
    ",": "path",
    "#": "stone",
    "T": "tree",
    "~": "water",
    "L": "lava",
    "D": "diamond",
    "t": "table",
    "p": "plant",
    "Z": "zombie",
    "@": "player",
    " ": "void",
}
STEP_OF: Final = {
    "move_left": (-1, 0),
    "move_right": (1, 0),
    "move_up": (0, -1),
    "move_down": (0, 1),
}
STARTED: Final = ("collect_sapling", "place_plant", "wake_up")
"""What a player has usually unlocked before it goes for wood."""


def seen(drawing: str, held: dict[str, int] | None = None, **facts: Any) -> Observation:
    """An observation of a drawn view; `held` changes the inventory, `facts` other fields."""
    view = tuple(tuple(TILE_OF[char] for char in row) for row in drawing.strip("\n").split("\n"))
    inventory = START.inventory | (held or {})
    return replace(START, view=view, inventory=inventory, **facts)


class Sheet:
    """A world of drawn rows in which one can walk and fell trees, and nothing else moves."""

    def __init__(self, rows: list[str], x: int, y: int) -> None:
        self.rows = [list(row) for row in rows]
        self.start = self.place = (x, y)
        self.facing = (0, 1)
        self.wood = self.steps = 0
        self.shown: set[tuple[int, int]] = set()

    def observe(self) -> Observation:
        x, y = self.place
        cells = [[(x + dx, y + dy) for dx in range(-4, 5)] for dy in range(-3, 4)]
        self.shown.update(cell for row in cells for cell in row)
        drawing = "\n".join("".join(self._char(*cell) for cell in row) for row in cells)
        return seen(
            drawing,
            {"wood": self.wood},
            step=self.steps,
            facing=self.facing,
            displacement=(x - self.start[0], y - self.start[1]),
            achievements=STARTED,
        )

    def step(self, action: str) -> None:
        self.steps += 1
        if action in STEP_OF:
            self.facing = STEP_OF[action]
        x, y = (here + step for here, step in zip(self.place, self.facing, strict=True))
        if action in STEP_OF and self._char(x, y) in ".,":
            self.place = (x, y)
        elif action == "do" and self._char(x, y) == "T":
            self.rows[y][x] = "."
            self.wood += 1

    def _char(self, x: int, y: int) -> str:
        if (x, y) == self.place:
            return "@"
        inside = 0 <= y < len(self.rows) and 0 <= x < len(self.rows[0])
        return self.rows[y][x] if inside else " "
