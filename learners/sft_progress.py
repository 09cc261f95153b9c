"""How far a fine-tuning run is, as each checkpoint tells it. Pure."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from cluster.errors import RunError
from configs.sft import SftConfig

_FILE: Final = "progress.json"


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


def write_progress(folder: Path, progress: Progress) -> None:
    (folder / _FILE).write_text(json.dumps(asdict(progress), indent=2) + "\n", encoding="utf-8")


def read_progress(folder: Path) -> Progress:
    """What a checkpoint's folder tells.

    Raises:
        RunError: it is damaged.
    """
    try:
        told = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        evaluations = tuple(Evaluation(**evaluation) for evaluation in told.pop("evaluations"))
        return Progress(**told, evaluations=evaluations)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"checkpoint {folder} is damaged ({error}): remove it to go on from the one before"
        ) from None
