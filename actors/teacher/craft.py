"""What can be made and built, and what must be gathered for it."""

from dataclasses import dataclass
from typing import Final

TOOLS: Final = {
    "wood_pickaxe": {"wood": 1},
    "stone_pickaxe": {"wood": 1, "stone": 1},
    "iron_pickaxe": {"wood": 1, "coal": 1, "iron": 1},
    "wood_sword": {"wood": 1},
    "stone_sword": {"wood": 1, "stone": 1},
    "iron_sword": {"wood": 1, "coal": 1, "iron": 1},
}
"""Ingredients of the tools, in the order they are wanted."""
IRON_TOOLS: Final = ("iron_pickaxe", "iron_sword")
STONE_TOOLS: Final = ("stone_pickaxe", "stone_sword")
TABLE_WOOD: Final = 2
FURNACE_STONE: Final = 4
_MOST: Final = 9


def missing(inventory: dict[str, int], tools: tuple[str, ...] = tuple(TOOLS)) -> list[str]:
    """Tools not yet owned."""
    return [tool for tool in tools if not inventory[tool]]


def craftable(inventory: dict[str, int], *, furnace: bool, wood: int = 0) -> list[str]:
    """Missing tools that the inventory suffices for next to a table, in order.

    Args:
        inventory: what is held.
        furnace: whether a furnace is near too.
        wood: that much wood is kept back.
    """
    left = dict(inventory)
    left["wood"] -= wood
    made = []
    for tool in missing(inventory):
        if tool in IRON_TOOLS and not furnace:
            continue
        needs = TOOLS[tool]
        if all(left[item] >= number for item, number in needs.items()):
            made.append(tool)
            for item, number in needs.items():
                left[item] -= number
    return made


@dataclass(frozen=True, slots=True)
class Needs:
    """How many of each material the next steps take, and how many it is well to have."""

    wood_now: int
    wood_later: int
    stone_now: int
    coal: int
    iron: int


def needs(inventory: dict[str, int], unlocked: frozenset[str]) -> Needs:
    """Derive the shopping list from the tools and buildings still missing."""
    tools = missing(inventory)
    wood_tools = sum(tool.startswith("wood") for tool in tools)
    stone_tools = sum(tool in STONE_TOOLS for tool in tools)
    iron_tools = sum(tool in IRON_TOOLS for tool in tools)
    table = TABLE_WOOD if "place_table" not in unlocked else 0
    second_table = TABLE_WOOD if iron_tools else 0
    wood_now = table + wood_tools
    if not wood_now:
        wood_now = stone_tools or min(iron_tools, inventory["iron"], inventory["coal"])
    furnace = FURNACE_STONE if "place_furnace" not in unlocked or iron_tools else 0
    return Needs(
        wood_now=wood_now,
        wood_later=min(_MOST, table + len(tools) + second_table),
        stone_now=min(_MOST, stone_tools + furnace + ("place_stone" not in unlocked)),
        coal=iron_tools or int("collect_coal" not in unlocked),
        iron=iron_tools or int("collect_iron" not in unlocked),
    )
