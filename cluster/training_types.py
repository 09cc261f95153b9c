"""What a training run's ledger is given and what it tells."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cluster.batches import GroupSetup
from cluster.types import Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetup:
    """How a training ledger is to run."""

    groups: GroupSetup
    evaluation_seeds: tuple[int, ...] = ()
    """Worlds of an evaluation, each played once; none of them may be trained in."""
    turn_version: Literal["pinned", "newest"] = "pinned"
    """As the workers are set up."""
    traces: Path
    episodes_per_worker: int
    timeout_s: float
    max_attempts: int

    def __post_init__(self) -> None:
        both = set(self.groups.seeds) & set(self.evaluation_seeds)
        if both:
            raise ValueError(f"seed {min(both)} is to be trained in and evaluated in")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """What a watcher is told."""

    step: int
    """Committed."""
    version: int | None
    """Served to new episodes; None: nothing is played until `serve` is called."""
    evaluations: tuple[int, ...]
    """Versions whose evaluation is asked for and not done."""
    counts: dict[str, int]
    """Episodes admitted, by state."""
    held_bytes: int
    """Of episodes that wait to be trained."""
    drops: dict[str, int]
    """Groups by the reason they were dropped for, since the run began."""
    summaries: list[Summary]
    """Of episodes that came in since the watcher last asked."""
    num_discarded: int
    """Episodes that came in after their groups were dropped or trained."""
    num_replayed: int
    num_duplicates: int
