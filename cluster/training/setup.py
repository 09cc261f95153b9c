"""What a training run's ledger is given and what it tells."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cluster.types import EpisodeSpec, Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSetup:
    """What a run asks of its groups."""

    seeds: tuple[int, ...]
    """Worlds, each once; group g plays world g % len(seeds)."""
    group_size: int
    """Plays of one world."""
    groups_per_step: int
    num_steps: int
    max_staleness: int
    """Versions that a turn may lag behind the step it is trained in; 0 is synchronous."""
    max_held_bytes: int
    """Of finished episodes that are not trained yet and, by the mean of what came in, of those
    under way: once there are as many no group is let in, save to make one batch."""
    max_consecutive_drops: int
    """Groups dropped in a row that end the run."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"each seed must be given once: {self.seeds}")

    def specs(self, index: int) -> tuple[EpisodeSpec, ...]:
        """The episodes of a group."""
        turn, world = divmod(index, len(self.seeds))
        first = turn * self.group_size
        samples = range(first, first + self.group_size)
        return tuple(EpisodeSpec(seed=self.seeds[world], sample=sample) for sample in samples)

    def index(self, spec: EpisodeSpec) -> int:
        """The group of an episode of one of these worlds."""
        return spec.sample // self.group_size * len(self.seeds) + self.seeds.index(spec.seed)


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
class Books:
    """What became of a run's steps and episodes; at the end lost and doubled are to be 0.

    What is neither trained, dropped nor lost is being played, or waits to be trained.
    """

    num_steps: int
    """To be taken."""
    step: int
    """Taken."""
    asked: int
    """Episodes let in."""
    trained: int
    """Different ones that ranks were given of committed batches."""
    dropped: int
    """With their groups."""
    lost: int
    """Let in, and in no state at all."""
    doubled: int
    """How often one was given to train on that had been given before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """What a watcher is told."""

    step: int
    """Committed."""
    version: int | None
    """Served to new episodes; None: nothing is played until `serve` is called."""
    counts: dict[str, int]
    """Episodes admitted, by state."""
    books: Books
    """Counted apart from the states."""
    drops: dict[str, int]
    """Groups by the reason they were dropped for, since the run began."""
    summaries: list[Summary]
    """Of episodes that came in since the watcher last asked."""
    num_replayed: int
    """Starts beyond an episode's first."""
