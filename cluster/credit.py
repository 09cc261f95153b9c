"""What RL needs to know of a played episode to give its decisions credit. Pure."""

from dataclasses import dataclass
from itertools import pairwise

from cluster.facts import facts_of, pack
from cluster.types import Ending, Summary, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Small: it travels where the trajectory need not. Axis: T decisions."""

    rewards_T: tuple[float, ...]
    """What each decision earned, over all the steps that it took."""
    steps_T: tuple[int, ...]
    """The game's step at each decision; a decision without a step leaves the next at its own."""
    is_terminal: bool
    """It ended by what it did, death or a bad call: nothing was to come. False: by a limit: what
    was to come is unknown."""
    oldest_version: int = 0
    """Of its completions."""
    num_tokens: int = 0
    """Sampled."""
    num_bytes: int = 0
    """About what the trajectory takes in the object store."""
    facts: bytes = b""
    """Of each decision, as `cluster.facts.pack`; for a critic."""

    def __post_init__(self) -> None:
        if not self.rewards_T or len(self.rewards_T) != len(self.steps_T):
            raise ValueError(
                f"{len(self.rewards_T)} rewards at {len(self.steps_T)} steps: give one reward for "
                "each decision, of which there is one at least"
            )
        if any(later < earlier for earlier, later in pairwise(self.steps_T)):
            raise ValueError(f"steps_T {self.steps_T} goes back")


@dataclass(frozen=True, slots=True)
class Played:
    """What a worker tells of an episode beside its trajectory."""

    summary: Summary
    credit: Credit | None
    """None where no decision was taken."""


def credit_of(trajectory: Trajectory) -> Credit | None:
    """None where no decision was taken."""
    turns = trajectory.turns
    if not turns:
        return None
    return Credit(
        rewards_T=tuple(turn.reward for turn in turns),
        steps_T=tuple(turn.observation.step for turn in turns),
        is_terminal=trajectory.ending in (Ending.DEATH, Ending.BAD_CALL),
        oldest_version=min(turn.completion.version for turn in turns),
        num_tokens=sum(len(turn.completion.token_ids) for turn in turns),
        num_bytes=sum(
            # Measured: all but the frame is compressed, to 550 to 700 bytes for a prompt of 400.
            len(turn.frame or b"")
            + 2 * len(turn.completion.prompt_ids)
            + 8 * len(turn.completion.token_ids)
            for turn in turns
        ),
        facts=pack(facts_of(turn.observation) for turn in turns),
    )
