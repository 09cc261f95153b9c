"""Crafter's own vocabulary, in Crafter's own order (data.yaml of crafter 1.8.3)."""

from typing import Final

from configs.names import ACHIEVEMENTS, ITEMS, VITALS

__all__ = ["ACHIEVEMENTS", "ACTIONS", "CLASSIC_SIZE", "ITEMS", "TILES", "VITALS"]

CLASSIC_SIZE: Final = 64
"""Pixels, across and down, of the picture that stock Crafter draws by default."""

ACTIONS: Final = (
    "noop",
    "move_left",
    "move_right",
    "move_up",
    "move_down",
    "do",
    "sleep",
    "place_stone",
    "place_table",
    "place_furnace",
    "place_plant",
    "make_wood_pickaxe",
    "make_stone_pickaxe",
    "make_iron_pickaxe",
    "make_wood_sword",
    "make_stone_sword",
    "make_iron_sword",
)

TILES: Final = (
    "void",
    "water",
    "grass",
    "stone",
    "path",
    "sand",
    "tree",
    "lava",
    "coal",
    "iron",
    "diamond",
    "table",
    "furnace",
    "player",
    "cow",
    "zombie",
    "skeleton",
    "arrow",
    "plant",
    "ripe_plant",
)
"""What a cell of the view can show. `void` is beyond the edge; an object hides its ground."""
