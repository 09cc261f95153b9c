"""A decision's facts in words. Left and up in the text are left and up in the moves."""

from typing import Final, Literal

from cluster.names import ITEMS, VITALS
from cluster.types import Observation

_DIRECTIONS: Final = {(-1, 0): "left", (1, 0): "right", (0, -1): "up", (0, 1): "down"}


def state_text(observation: Observation, map_style: Literal["words", "grid"]) -> str:
    """Status, inventory, what is faced, the view and the achievements, a line or block each."""
    counts = observation.inventory
    held = [f"{name} {counts[name]}" for name in ITEMS if name not in VITALS and counts[name]]
    view = _view_words(observation) if map_style == "words" else _view_grid(observation)
    return "\n".join(
        [
            f"Step {observation.step} of {observation.length}.",
            "Status: " + ", ".join(f"{name} {counts[name]}" for name in VITALS) + ".",
            "Inventory: " + (", ".join(held) or "nothing") + ".",
            f"Facing {_DIRECTIONS[observation.facing]}: {observation.facing_tile}."
            + (" You are asleep." if observation.sleeping else "")
            + (" It is dark." if observation.daylight < 0.5 else ""),
            view,
            "Achievements: " + (", ".join(observation.achievements) or "none") + ".",
        ]
    )


def _view_words(observation: Observation) -> str:
    """The nearest tile of each kind by its offset, nearest first."""
    middle_y, middle_x = len(observation.view) // 2, len(observation.view[0]) // 2
    nearest: dict[str, tuple[int, int, int]] = {}
    for y, row in enumerate(observation.view):
        for x, tile in enumerate(row):
            dx, dy = x - middle_x, y - middle_y
            offset = (abs(dx) + abs(dy), dy, dx)
            if tile != "player":
                nearest[tile] = min(offset, nearest.get(tile, offset))
    lines = [
        f"- {tile}: {_offset(dx, dy)}"
        for tile, (_, dy, dx) in sorted(nearest.items(), key=lambda item: (item[1], item[0]))
    ]
    return "\n".join(["You see the nearest:", *lines])


def _offset(dx: int, dy: int) -> str:
    across = f"{abs(dx)} {'right' if dx > 0 else 'left'}" if dx else ""
    down = f"{abs(dy)} {'down' if dy > 0 else 'up'}" if dy else ""
    return " ".join(part for part in (across, down) if part)


def _view_grid(observation: Observation) -> str:
    rows = [" ".join(row) for row in observation.view]
    return "\n".join(["View, top row first, you are `player`:", *rows])
