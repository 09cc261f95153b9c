"""What the rules ask of an episode. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from cluster.names import ITEMS, VITALS
from cluster.types import Ending, Trajectory, Turn

_CARRIED = tuple(item for item in ITEMS if item not in VITALS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One episode in figures."""

    episode: str
    """Unique among all inputs."""
    seed: int
    ending: Ending
    model: str
    provider: str
    started_at: float
    """Seconds since the epoch."""
    num_steps: int
    """Decisions."""
    num_achievements: int
    episode_return: float
    longest_run: int
    """Environment steps in a row with one and the same action."""
    num_states: int


def facts_of(trajectory: Trajectory, episode: str) -> Facts:
    """Measure a trajectory, known as `episode` in the dataset."""
    return Facts(
        episode=episode,
        seed=trajectory.spec.seed,
        ending=trajectory.ending,
        model=trajectory.model,
        provider=trajectory.provider,
        started_at=trajectory.started_at,
        num_steps=len(trajectory.turns),
        num_achievements=len(trajectory.achievements),
        episode_return=trajectory.total_reward,
        longest_run=longest_run(trajectory.turns),
        num_states=num_states(trajectory.turns),
    )


def longest_run(turns: Sequence[Turn]) -> int:
    """Environment steps in the longest stretch of one action, across decisions.

    A sleeper's decisions are passed over: the game sleeps on, whatever it is told.
    """
    awake = (turn for turn in turns if not turn.observation.sleeping)
    actions = (action for turn in awake for action in turn.executed)
    return max((sum(1 for _ in run) for _, run in groupby(actions)), default=0)


def num_states(turns: Sequence[Turn]) -> int:
    """Different places, facings and inventories among the decisions.

    Vitals are left out: they change by themselves, also for one who stands still.
    """
    seen = {
        (
            turn.observation.displacement,
            turn.observation.facing,
            tuple(turn.observation.inventory[item] for item in _CARRIED),
        )
        for turn in turns
    }
    return len(seen)
