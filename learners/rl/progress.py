"""How far a run of RL is, as each checkpoint tells it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from configs.rl import RlConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Play in worlds that are not trained in."""

    step: int
    """Committed steps of the policy that played."""
    mean_return: float | None
    """Over all plays; None where there was none."""
    figures: dict[str, float] = field(default_factory=dict)
    """What else there is to tell, for the metrics."""

    @property
    def is_whole(self) -> bool:
        """Whether it says something of every world."""
        return self.mean_return is not None and not self.figures.get("failed_worlds")


@dataclass(frozen=True, slots=True, kw_only=True)
class RlProgress:
    """Counters at the end of a step."""

    step: int = 0
    """Committed."""
    num_updates: int = 0
    """Of the optimizer."""
    num_decisions: int = 0
    """In the batches of all steps."""
    num_tokens: int = 0
    """Learned from, over all workers."""
    mean_return: float = 0.0
    """Of the last step's plays."""
    idle_s: float = 0.0
    """Waited for play, by rank 0; work that was lost is not counted."""
    train_s: float = 0.0
    """Spent in updates, by rank 0."""
    peak_memory_gib: float = 0.0
    """Of rank 0: of its GPU, else of its process."""
    evaluations: tuple[Evaluation, ...] = ()
    """In the order in which they came."""
    has_ended: bool = False
    """Nothing is left to do, or to wait for."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "RlProgress":
        """From a checkpoint's JSON."""
        evaluations = tuple(Evaluation(**evaluation) for evaluation in told["evaluations"])
        return cls(**{**told, "evaluations": evaluations})

    @property
    def best(self) -> Evaluation | None:
        """The evaluation of the highest mean return, the earliest step's of equals; of those in
        which every world was played."""
        told = [evaluation for evaluation in self.evaluations if evaluation.is_whole]
        return max(told, key=lambda e: (e.mean_return or 0.0, -e.step), default=None)

    def after(self, evaluation: Evaluation) -> "RlProgress":
        return replace(self, evaluations=(*self.evaluations, evaluation))

    def is_evaluated(self, step: int) -> bool:
        return any(evaluation.step == step for evaluation in self.evaluations)

    def is_over(self, config: RlConfig) -> bool:
        """Whether there is no step left to take: all are, or evaluations have long not risen."""
        patience = config.evaluation.patience
        best = self.best
        is_stuck = (
            patience is not None
            and best is not None
            and sum(e.step > best.step for e in self.evaluations) >= patience
        )
        return self.has_ended or self.step >= config.num_steps or is_stuck


def version_after(num_steps: int) -> int:
    """Of the policy: the base model is 0, what RL begins with 1, and each step makes one more."""
    return num_steps + 1
