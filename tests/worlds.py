"""Crafter worlds for tests: stock's, and ours with things put where a test wants them; steps."""

import collections
from typing import Any, Final

import crafter
import numpy as np
from crafter import objects

from actors.game import QUIET, Game, Step
from cluster.names import ACTIONS
from configs.play import EnvConfig

DAY: Final = EnvConfig(length=300)
"""One whole day and night."""


def step(**changes: object) -> Step:
    """What an action did: nothing but the `changes`."""
    fields = {name: getattr(QUIET, name) for name in Step.__slots__}
    return Step(**(fields | changes))  # type: ignore[arg-type]  # names checked by Step itself


class _InOrder(dict[Any, None]):
    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]


def ordered_stock(seed: int, **settings: Any) -> Any:
    """`crafter.Env` whose world's `_chunks`, and nothing else, is replaced at each reset."""
    env = crafter.Env(seed=seed, **settings)
    reset = env._world.reset

    def reset_in_order(seed: int) -> None:
        reset(seed=seed)
        env._world._chunks = collections.defaultdict(_InOrder)

    env._world.reset = reset_in_order
    return env


def random_actions(seed: int, num: int) -> list[str]:
    """Uniform over the 17 actions."""
    return [ACTIONS[i] for i in np.random.default_rng(seed).integers(len(ACTIONS), size=num)]


def play_on(game: Game, actions: list[str]) -> list[Step]:
    """The steps of a game whose player is kept alive."""
    steps = []
    for action in actions:
        game._player.inventory["health"] = 9
        steps.append(game.step(action))
        if steps[-1].terminated:
            break
    return steps


def material(game: Game, dx: int, dy: int, name: str) -> None:
    """Put a material beside the player, in place of whatever is there."""
    x, y = np.add(game._player.pos, (dx, dy))
    occupant = game._world._world[x, y][1]
    if occupant:
        game._world._world.remove(occupant)
    game._world._world[x, y] = name


def zombie(game: Game, dx: int, dy: int) -> None:
    """Put a zombie on grass beside the player."""
    material(game, dx, dy, "grass")
    creature = objects.Zombie(game._world._world, np.add(game._player.pos, (dx, dy)), game._player)
    game._world._world.add(creature)
