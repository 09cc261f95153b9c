"""What `cluster.ledger` keeps of an episode and of the attempts at it."""

from dataclasses import dataclass, field
from enum import StrEnum

from cluster.types import EpisodeSpec


class EpisodeState(StrEnum):
    """Where an episode stands."""

    PENDING = "pending"
    PLAYING = "playing"
    PLAYED = "played"
    """Its result is held; its trace is not durable yet."""
    FINISHED = "finished"
    """Its trace is durable."""
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of one episode."""

    spec: EpisodeSpec
    number: int
    worker: int


@dataclass(slots=True)
class Entry:
    """What the ledger knows of one episode."""

    spec: EpisodeSpec
    state: EpisodeState = EpisodeState.PENDING
    num_attempts: int = 0
    under_way: dict[int, Attempt] = field(default_factory=dict)
    until: dict[int, float] = field(default_factory=dict)
    """When each attempt under way is overdue."""
    overdue: set[int] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)
    is_forgotten: bool = False
    """Out of the account; stays here until nothing of it is under way."""
