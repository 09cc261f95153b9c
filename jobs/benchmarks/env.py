"""The game's speed against stock Crafter's: the same worlds, the same actions, in turn.

Each repeat plays one episode both ways, stock first, and gives one ratio a row: CPU seconds a
step of stock's over ours. A figure is the median of the repeats; `<row>_iqr` is the distance
between their quartiles. Making a world, imports and compilation are outside the clock.

Stock Crafter has one thing of ours, insertion-ordered object sets: without them it would play
another game than ours from the same actions. Ours reads the facts of each moment that it draws,
as stock's `info` holds them. The action lists are random ones that live for 300 steps, a whole day
and night. At 288 pixels stock's night is another (its picture eats the world's random numbers), so
there both are timed up to the step at which stock dies.
"""

import collections
import time
from typing import Any, Final

import numpy as np

from cluster.names import ACTIONS
from jobs.benchmarks import median_of

ROWS: Final = {
    "step_64": "steps a second with a 64-pixel frame after every step, ours over stock",
    "decision_64": "decisions a second of 5 steps and one 64-pixel frame, ours over stock, "
    "which draws every step",
    "decision_288": "the same at 288 pixels",
}

_SEEDS: Final = (152, 244, 284, 302)
"""Worlds in which the random actions of the same seed survive for 300 steps."""
_STEPS: Final = 300
_DECISION_STEPS: Final = 5
_REPEATS: Final = 8


def run() -> dict[str, float]:
    """The figures of `ROWS`, each with its `_iqr`."""
    _repeat(_SEEDS[0])  # art is decoded and scaled, numba compiles
    repeats = [_repeat(_SEEDS[i % len(_SEEDS)]) for i in range(_REPEATS)]
    figures: dict[str, float] = {}
    for row in ROWS:
        figures |= median_of(row, [ratios[row] for ratios in repeats])
    return figures


def _repeat(seed: int) -> dict[str, float]:
    actions = np.random.default_rng(seed).integers(len(ACTIONS), size=_STEPS).tolist()
    stock_64, _ = _time_stock(seed, actions, 64)
    ours_64 = _time_ours(seed, actions, 64, 1)
    ours_decision_64 = _time_ours(seed, actions, 64, _DECISION_STEPS)
    stock_288, lived = _time_stock(seed, actions, 288)
    ours_decision_288 = _time_ours(seed, actions[:lived], 288, _DECISION_STEPS)
    return {
        "step_64": stock_64 / ours_64,
        "decision_64": stock_64 / ours_decision_64,
        "decision_288": stock_288 / ours_decision_288,
    }


def _time_stock(seed: int, actions: list[int], size: int) -> tuple[float, int]:
    """CPU seconds a step, and the steps lived."""
    env = _stock(seed, size)
    env.reset()
    started, lived, over = time.process_time(), 0, False
    while lived < len(actions) and not over:
        _, _, over, _ = env.step(actions[lived])
        lived += 1
    return (time.process_time() - started) / lived, lived


def _time_ours(seed: int, actions: list[int], size: int, steps_per_frame: int) -> float:
    """CPU seconds a step."""
    from actors.game import Game
    from configs.play import EnvConfig

    game = Game(EnvConfig(length=_STEPS), seed)
    started = time.process_time()
    for i, action in enumerate(actions, start=1):
        game.step(ACTIONS[action])
        if i % steps_per_frame == 0:
            game.draw(size)
            game.observe()
    return (time.process_time() - started) / len(actions)


def _stock(seed: int, size: int) -> Any:
    """Stock Crafter with ordered object sets."""
    import crafter

    from actors.world import OrderedSet

    env = crafter.Env(seed=seed, size=(size, size), length=_STEPS)
    reset = env._world.reset

    def reset_ordered(seed: int) -> None:
        reset(seed=seed)
        env._world._chunks = collections.defaultdict(OrderedSet)

    env._world.reset = reset_ordered
    return env
