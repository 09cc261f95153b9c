"""How a model learns: settings that pre-training, SFT and RL share, and pre-training's own."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from configs.base import Section
from configs.player import LoraRank


class OptimConfig(Section):
    """AdamW and its learning rate over time."""

    learning_rate: PositiveFloat = 1e-3
    """At its highest."""
    warmup_steps: int = Field(default=50, ge=0)
    """Steps in which it rises from 0."""
    decay: Literal["constant", "linear", "cosine"] = "linear"
    """How it falls to 0 from there to the last step."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's; not on biases and norms."""
    beta2: float = Field(default=0.99, gt=0, lt=1)
    """Memory of the squared gradient."""
    max_grad_norm: PositiveFloat = 1.0
    """A longer gradient is scaled down to this."""


class PretrainConfig(Section):
    """Teach the tiny model to read its picture, from traces."""

    output: str
    """Folder of the run; the same command again continues what is there."""
    inputs: tuple[str, ...] = Field(min_length=1)
    """Run folders with recorded frames to learn from."""
    unseen: tuple[str, ...] = Field(min_length=1)
    """Run folders to measure on; none of their worlds may be in `inputs`."""
    seed: int = 0
    """Of the weights and of the order of examples."""
    num_steps: PositiveInt = 3000
    """Optimizer steps."""
    batch_size: PositiveInt = 16
    """Pictures in a step."""
    play_share: float = Field(default=0.2, ge=0, le=1)
    """Share of examples that are a request to play, answered with a random legal call."""
    optim: OptimConfig = OptimConfig()
    num_threads: PositiveInt = 1
    """Threads that torch computes with."""
    report_every_steps: PositiveInt = 50
    """A line of metrics."""
    checkpoint_every_steps: PositiveInt = 250
    """How much is lost at most when it is killed."""
    num_unseen: PositiveInt = 600
    """Pictures to measure on at the end."""

    @model_validator(mode="after")
    def _inputs_are_not_unseen(self) -> "PretrainConfig":
        both = set(self.inputs) & set(self.unseen)
        if both:
            raise ValueError(f"{sorted(both)} is among both inputs and unseen")
        return self


class LoraConfig(Section):
    """What is trained: low-rank matrices beside frozen ones, as the replicas can serve them."""

    r: LoraRank = 16
    """Rank; the values are vLLM's own."""
    alpha: PositiveInt = 32
    """Their product is scaled by alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of their inputs left out in training."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Which linear layers: all, or those whose names end so, such as ["q_proj", "v_proj"]."""
    plus_ratio: PositiveFloat = 1.0
    """Learning rate of the matrices that begin as zeros (B) over that of the others (LoRA+, arXiv
    2402.12354)."""
    tower: bool = False
    """Also those of the vision tower and its connector; the replicas then need
    engine.lora.tower."""

    @model_validator(mode="after")
    def _targets_are_named(self) -> "LoraConfig":
        if not self.targets:
            raise ValueError('targets is empty: name layers, or give "all-linear"')
        return self


class LearnerWorkersConfig(Section):
    """How a learner's workers are sized. It never changes what is learned, save for the order in
    which floats are added."""

    num_workers: PositiveInt = 1
    """Learners; each takes its share of every batch."""
    device: Literal["cpu", "gpu"] = "cpu"
    """gpu: one for each worker."""
    worker_cpus: PositiveInt = 1
    """CPUs that Ray sets aside for each worker; also its threads."""
    micro_batch_size: PositiveInt = 8
    """Rows that a worker computes at once; lower it where memory runs out."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    max_failures: int = Field(default=3, ge=0)
    """Times that the workers may be restarted, from the last checkpoint, before the run fails."""
    start_timeout_s: PositiveFloat = 300.0
    """For the workers to start."""


class LearnerClusterConfig(LearnerWorkersConfig):
    """Where a learner runs, and on which workers."""

    address: str = "auto"
    """Ray's address; auto: RAY_ADDRESS, else a cluster running on this machine, else a Ray of
    our own; local: always a Ray of our own."""
