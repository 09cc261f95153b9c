"""One Crafter world that seed and actions reproduce, and that no look can change."""

import collections
import copy
import functools
import pickle
import threading
from typing import Any, Final

import crafter
import numpy as np
from crafter import constants, engine, objects, worldgen
from numpy.typing import NDArray

from cluster.names import CLASSIC_SIZE, VITALS

_BY_CHANCE: Final = {
    material for material, rules in constants.collect.items() if rules.get("probability", 1) < 1
}
"""What can be collected from only now and then: grass, which may hide a sapling."""

_GENERATING: Final = threading.Lock()
"""The plays of a group begin together: they wait for one world, and do not each make it."""

Cell = tuple[str | None, str | None]
"""Names of the art of a tile: its ground (None beyond the edge) and the object on it, if any."""


class World:
    """Crafter's rules over a world of its own.

    Stock Crafter keeps objects in sets ordered by memory address and picks from that order, so
    equal seeds and actions part after a few steps. Here the order is that of insertion.
    Stock also draws the picture's night noise from the world's random numbers, so that the game
    depends on the pictures; here every step takes what one classic picture takes.
    """

    def __init__(self, area: tuple[int, int], view: tuple[int, int], seed: int) -> None:
        with _GENERATING:
            generated = _generated(area, seed)
        self._world, self.player = pickle.loads(generated)
        self._env = copy.copy(_stock_env(area, view))
        self._env._world, self._env._player = self._world, self.player
        self._env._step = 0
        self._env._update_time()
        self._reach = 2 * max(view)
        self._grid = _map_grid(view)
        self.noise: NDArray[np.float64] | None = None
        """Night noise [x, y] of the classic picture of this moment; None by day."""
        self._take_noise()

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return int(self._env._step)

    @property
    def daylight(self) -> float:
        """1 at noon, near 0 at midnight."""
        return float(self._world.daylight)

    def tick(self, action: str) -> bool:
        """Let the player act, then everything near it, as `crafter.Env.step` does.

        Returns:
            Whether the action did anything: the player moved, turned, slept, gained or used
            something, or changed what it faced; or it tried what succeeds by chance.
        """
        env, world, player = self._env, self._world, self.player
        env._step += 1
        env._update_time()
        # The player was added first and never leaves, so it is first to act, as in stock.
        _, *others = world.objects
        did_anything = self._act(action)
        x, y = player.pos.tolist()
        for other in others:
            # Plain integers: numpy takes 20 times as long for two of them.
            other_x, other_y = other.pos.tolist()
            if abs(other_x - x) + abs(other_y - y) < self._reach:
                other.update()
        if env._step % 10 == 0:
            for chunk, members in world.chunks.items():
                env._balance_chunk(chunk, members)
        self._take_noise()
        return did_anything

    def cells(self) -> list[list[Cell]]:
        """The art of the tiles around the player: rows (top first) of cells (left first)."""
        width, height = self._grid
        left = int(self.player.pos[0]) - width // 2
        top = int(self.player.pos[1]) - height // 2
        grounds, occupants = self._world._mat_names, self._world._objects
        ground_ids = _window(self._world._mat_map, (left, top), self._grid)
        occupant_ids = _window(self._world._obj_map, (left, top), self._grid)
        return [
            [
                (grounds[ground], occupants[occupant].texture if occupant else None)
                for ground, occupant in zip(ground_row, occupant_row, strict=True)
            ]
            for ground_row, occupant_row in zip(ground_ids, occupant_ids, strict=True)
        ]

    def _act(self, action: str) -> bool:
        player = self.player
        target = tuple((player.pos + player.facing).tolist())
        material, thing = self._world[target]
        tried = action == "do" and thing is None and material in _BY_CHANCE
        before, had = self._touched(target), player.inventory.copy()
        player.action = action
        player.update()
        fed = any(player.inventory[name] > had[name] for name in ("food", "drink"))
        return player.sleeping or fed or tried or self._touched(target) != before

    def _touched(self, target: tuple[int, int]) -> tuple[Any, ...]:
        """All that an action can change: the player but for its vitals, and what `target` holds."""
        player = self.player
        material, thing = self._world[target]
        items = [n for name, n in player.inventory.items() if name not in VITALS]
        health = None if thing is None else thing.health
        return player.pos.tolist(), player.facing, player.sleeping, items, material, health

    def _take_noise(self) -> None:
        dark = self._world.daylight < 0.5
        shape = [n * (CLASSIC_SIZE // v) for n, v in zip(self._grid, self._env._view, strict=True)]
        self.noise = self._world.random.uniform(32, 127, shape) if dark else None


class OrderedSet(dict[Any, None]):
    """The part of a set that Crafter uses, in the order of insertion."""

    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]


@functools.lru_cache(maxsize=64)
def _generated(area: tuple[int, int], seed: int) -> bytes:
    """World and player of the first reset of `crafter.Env(seed=seed)`, pickled.

    Kept, as the plays of a group are of one world, and making it takes a hundred times as long
    as having it again.
    """
    world = engine.World(area, constants.materials, (12, 12))
    world.reset(seed=hash((seed, 1)) % (2**31 - 1))
    world._chunks = collections.defaultdict(OrderedSet)
    player = objects.Player(world, (area[0] // 2, area[1] // 2))
    world.add(player)
    worldgen.generate_world(world, player)
    return pickle.dumps((world, player))


@functools.cache
def _stock_env(area: tuple[int, int], view: tuple[int, int]) -> Any:
    """The owner of the rules; kept, because making one decodes all of Crafter's art."""
    return crafter.Env(area=area, view=view, seed=0)


def _map_grid(view: tuple[int, int]) -> tuple[int, int]:
    """Tiles across and down of the map's part of the picture."""
    return view[0], view[1] - -(-len(constants.items) // view[0])


def _window(ids: NDArray[Any], corner: tuple[int, int], shape: tuple[int, int]) -> list[list[int]]:
    """Rows of the ids [x, y] from `corner` on; 0 beyond the edges. Its middle is inside."""
    (left, top), (width, height) = corner, shape
    window = np.zeros(shape, ids.dtype)
    inside = ids[max(left, 0) : left + width, max(top, 0) : top + height]
    x, y = max(-left, 0), max(-top, 0)
    window[x : x + inside.shape[0], y : y + inside.shape[1]] = inside
    rows: list[list[int]] = window.T.tolist()
    return rows
