"""How far a fine-tuning run is, as each checkpoint tells it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from configs.sft import SftConfig


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One measurement on examples that are not trained on."""

    step: int
    loss: float
    """Cross-entropy in nats, mean over the answers' tokens."""
    accuracy: float
    """Share of the answers' tokens that were the likeliest."""
    call_accuracy: float
    """Share of answers of which every token was the likeliest, given those before."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Counters at the end of a step."""

    step: int = 0
    """Optimizer steps taken."""
    num_labels: int = 0
    """Tokens learned from, over all workers."""
    seconds: float = 0.0
    """Spent in steps and measurements, over all starts; work that was lost is not counted."""
    first_loss: float = 0.0
    """Of the first step."""
    loss: float = 0.0
    """Of the last step."""
    peak_memory_gib: float = 0.0
    """Of one worker: of its GPU, else of its process."""
    evaluations: tuple[Evaluation, ...] = ()

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Progress":
        """From a checkpoint's JSON."""
        evaluations = tuple(Evaluation(**evaluation) for evaluation in told["evaluations"])
        return cls(**{**told, "evaluations": evaluations})

    @property
    def best(self) -> Evaluation | None:
        """The measurement of the lowest loss, the first of equals."""
        return min(self.evaluations, key=lambda e: e.loss, default=None)

    @property
    def evaluated(self) -> bool:
        """Whether the last step was measured."""
        return bool(self.evaluations) and self.evaluations[-1].step == self.step

    def after(self, evaluation: Evaluation) -> "Progress":
        return replace(self, evaluations=(*self.evaluations, evaluation))

    def has_stopped_early(self, config: SftConfig) -> bool:
        """Whether the measured loss has not fallen for as long as the settings wait."""
        patience = config.evaluation.patience
        if patience is None or self.best is None:
            return False
        return sum(e.step > self.best.step for e in self.evaluations) >= patience

    def is_over(self, config: SftConfig, num_steps: int) -> bool:
        return self.step >= num_steps or self.has_stopped_early(config)
