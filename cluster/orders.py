"""How an episode is to be played. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """Which policy version an episode is to be played with."""

    version: int
    is_pinned: bool
    """Every turn, whatever the workers do otherwise."""
