"""Supervised fine-tuning: from a dataset of decisions to an adapter."""

import math
from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from configs.base import Section
from configs.learning import LearnerClusterConfig, LoraConfig, OptimConfig


class EvalConfig(Section):
    """Measuring on examples that are not trained on."""

    every_steps: PositiveInt | None = 100
    """Optimizer steps between two measurements, the end included; none: never."""
    num_rows: PositiveInt = 512
    """Most examples to measure on, the same each time."""
    patience: PositiveInt | None = None
    """End after so many measurements without a lower loss; none: go on to the last step."""


class CheckpointConfig(Section):
    """What is kept of a run under way, and what it leaves."""

    every_steps: PositiveInt = 100
    """How much is lost at most when a run is killed; there is one at each measurement too."""
    keep: PositiveInt = 2
    """How many of the last ones stay; the best one always does."""
    final: Literal["best", "last"] = "best"
    """Which one becomes the run's adapter: that of the lowest measured loss, or the last."""


class SftConfig(Section):
    """A LoRA adapter from supervised fine-tuning."""

    output: str
    """The run's folder, where every node sees it; the same command again continues what is
    there."""
    data: str
    """A dataset's folder, of jobs.export --format sft; Parquet is preferred to JSON lines."""
    model: str = "configs/models/tiny"
    """Folder of a model, or a hub's name for one such as Qwen/Qwen3-VL-4B-Instruct."""
    adapter: str | None = None
    """Folder of an adapter to start from, of the same r, alpha and layers; none: start anew."""
    lora: LoraConfig = LoraConfig()
    optim: OptimConfig = OptimConfig()
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The base model's weights and the arithmetic; what is trained is float32 always."""
    batch_size: PositiveInt = 32
    """Examples in an optimizer step, over all workers."""
    num_steps: PositiveInt | None = None
    """Optimizer steps; give this or num_epochs."""
    num_epochs: float | None = Field(default=None, gt=0)
    """Times that every example is seen; give this or num_steps."""
    balance: float = Field(default=0.0, ge=0, le=1)
    """0: every example equally often. Above, they are drawn with weight 1 / (frequency of the
    call's first action) ^ balance: rare actions come more often, at 1 all equally."""
    max_sequence_length: PositiveInt = 2048
    """Most tokens of an example, image tokens and answer included; the replicas'
    engine.max_model_len should be as large."""
    max_images: PositiveInt = 1
    """Most pictures in an example; the replicas' engine.max_images should be as large."""
    seed: int = Field(default=0, ge=0)
    """Of the new matrices, the order of examples and dropout."""
    report_every_steps: PositiveInt = 10
    """Optimizer steps to a line of metrics."""
    evaluation: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    cluster: LearnerClusterConfig = LearnerClusterConfig()

    @model_validator(mode="after")
    def _length_is_given_once(self) -> "SftConfig":
        if (self.num_steps is None) == (self.num_epochs is None):
            raise ValueError("give num_steps or num_epochs, one of the two")
        return self

    @model_validator(mode="after")
    def _best_needs_evaluation(self) -> "SftConfig":
        if self.evaluation.every_steps is None:
            if self.checkpoint.final == "best":
                raise ValueError(
                    'checkpoint.final "best" needs evaluation.every_steps; without it give "last"'
                )
            if self.evaluation.patience is not None:
                raise ValueError("evaluation.patience needs evaluation.every_steps")
        return self

    @model_validator(mode="after")
    def _lines_end_where_checkpoints_are(self) -> "SftConfig":
        # A line's sums start anew after a restart: it may not straddle a checkpoint.
        for name, steps in (
            ("evaluation.every_steps", self.evaluation.every_steps),
            ("checkpoint.every_steps", self.checkpoint.every_steps),
        ):
            if steps is not None and steps % self.report_every_steps:
                raise ValueError(
                    f"{name} {steps} is no multiple of report_every_steps "
                    f"{self.report_every_steps}: give one"
                )
        return self

    @model_validator(mode="after")
    def _every_worker_has_rows(self) -> "SftConfig":
        if self.batch_size < self.cluster.num_workers:
            raise ValueError(
                f"batch_size {self.batch_size} leaves some of {self.cluster.num_workers} workers "
                "without an example: raise it or lower cluster.num_workers"
            )
        return self

    def steps_for(self, num_rows: int) -> int:
        """Optimizer steps over a dataset of `num_rows` examples."""
        if self.num_steps is not None:
            return self.num_steps
        return math.ceil((self.num_epochs or 0) * num_rows / self.batch_size)
