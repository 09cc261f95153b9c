"""What a rank of an RL run asks of the rest of the run. Knows nothing of Ray.

Steps are counted from 0: step k is trained when k steps are committed, by the policy of version
k + 1. Calls may be made again after a restart; what was done then is not done twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cluster.canary import Canary
from cluster.credit import Credit
from cluster.types import EpisodeSpec, Trajectory
from learners.rl.progress import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """An episode that this rank learns from."""

    group: int
    """Place of its group in the batch."""
    number: int
    """Place in its group."""
    spec: EpisodeSpec
    trajectory: Trajectory | None
    """None where it is gone: it has to be played again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A batch, as one rank sees it."""

    step: int
    groups: tuple[tuple[Credit, ...], ...]
    """All of the batch: the same on every rank."""
    mine: tuple[Play, ...]
    """This rank's part: each episode is one rank's."""
    stats: Mapping[str, float]
    """More figures of the batch for the metrics, such as what was dropped and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyVersion:
    """A policy that may be served."""

    version: int
    files: Mapping[str, bytes]
    """Of its adapter, name -> content."""
    canary: Canary
    """By which a replica proves it."""


class Source(Protocol):
    """`batch` and `lost` are for every rank, all else for rank 0 alone."""

    def batch(self, step: int) -> Share:
        """This rank's share of a step's batch; waits until there is one."""
        ...

    def lost(self, specs: Sequence[EpisodeSpec]) -> None:
        """These were in the batch and are gone. All ranks are going to ask for it again."""
        ...

    def snapshot(self, num_steps: int) -> dict[str, Any]:
        """The account of play as it is once `num_steps` are committed, for JSON."""
        ...

    def committed(self, step: int) -> None:
        """The checkpoint after `step` is in place."""
        ...

    def publish(self, policy: PolicyVersion) -> None:
        """Have new play be by this policy; returns once it is proved to be served.

        Raises:
            RunError: no replica can serve it.
        """
        ...

    def evaluate(self, step: int, policy: PolicyVersion) -> None:
        """Have this policy, of `step` committed steps, play in the worlds of evaluation."""
        ...

    def evaluations(self, wait_for: Sequence[int] = ()) -> Sequence[Evaluation]:
        """Those that have ended; waits until those of the steps `wait_for` have."""
        ...

    def warn(self, sentence: str) -> None:
        """Tell the one who started the run."""
        ...
