"""What exports ask of whoever can play an episode again; `actors.replay` does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cluster.names import CLASSIC_SIZE
from cluster.types import Observation, Trajectory, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The game after an environment step, or before the first."""

    frame: NDArray[np.uint8]
    """[y, x, rgb]."""
    observation: Observation
    turn: Turn | None
    """The decision that this step carried out a part of; None before the first step."""
    action: str
    """Empty before the first step."""
    reward: float
    unlocked: tuple[str, ...]
    """First reached by this step."""


Replay = Callable[[Trajectory, int], Iterator[Moment]]
"""Every moment, drawn so many pixels wide and high. Raises TraceError where the game differs."""

Redraw = Callable[[Trajectory, int], Iterator[bytes]]
"""The PNG of every decision, at a size. Raises TraceError where the game differs."""


def frame_size(trajectory: Trajectory) -> int:
    """Pixels of the pictures that the episode's settings ask for; else Crafter's own."""
    size = trajectory.env.get("size")
    return size if isinstance(size, int) else CLASSIC_SIZE


def place_name(trajectory: Trajectory) -> str:
    """`seed_0007`; further plays of that world are `seed_0007_sample_01` and so on."""
    spec = trajectory.spec
    return f"seed_{spec.seed:04d}" + (f"_sample_{spec.sample:02d}" if spec.sample else "")
