"""What is written as one part of the traces. Pure."""

from dataclasses import dataclass
from typing import Any

from cluster.types import EpisodeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Episodes that are written together."""

    name: str
    """A part that is written again replaces the one of its name."""
    specs: tuple[EpisodeSpec, ...]
    trajectories: tuple[Any, ...]
    """ObjectRefs."""
