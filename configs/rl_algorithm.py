"""What RL learns from played groups: which credit, which loss."""

from typing import Final, Literal

from pydantic import Field, PositiveFloat, model_validator

from configs.base import Section

_READ_BY: Final = {"gamma": ("turn", "critic"), "trace_decay": ("critic",)}


class AlgorithmConfig(Section):
    """Group-relative policy gradient, clipped; a decision is one sample."""

    advantage: Literal["turn", "critic", "grpo", "dr_grpo"] = "turn"
    """Credit of a decision. turn: what it was followed by, against its group at the same step of
    the game; critic: how much more the game was worth after it, as the facts behind the pictures
    tell; grpo: the whole episode's return against its group, over its deviation; dr_grpo: the
    same, undivided."""
    gamma: float = Field(default=0.98, ge=0, le=1)
    """Discount of later rewards per step of the game; only for advantage turn and critic."""
    trace_decay: float = Field(default=0.9, ge=0, le=1)
    """Lambda of generalised advantage estimation; only for advantage critic. 0 trusts the critic
    for all but the next reward, 1 counts what came, however late."""
    train_fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of a batch's decisions that are learned from, drawn by the size of their advantages and
    weighted so that the gradient is expected to be that of all: where playing is cheap beside
    learning, or decisions of a play are much alike, more play is worth more than all of it."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """A token's ratio to its old probability teaches nothing further once it is below
    1 - clip_low and the token was bad."""
    clip_high: PositiveFloat = 0.28
    """The same above 1 + clip_high, for a good token."""
    old_logprobs: Literal["sampled", "recomputed"] = "sampled"
    """What the ratio is against. sampled: the engine's own log-probabilities; recomputed: the
    learner's before the step, which costs one more forward pass."""
    importance_cap: float | None = Field(default=None, ge=1)
    """With recomputed: tokens are weighted by recomputed over sampled probability, at most this;
    2 is usual; none: unweighted, with max_staleness 0 alone."""
    kl_coef: float = Field(default=0.0, ge=0)
    """Weight of the divergence from the model that RL began with; 0 spares its forward pass."""
    entropy_coef: float = Field(default=0.003, ge=0)
    """Weight of a bonus for entropy, which keeps the policy from settling early."""
    aggregation: Literal["token", "sequence"] = "token"
    """token: every token of a batch counts alike; sequence: every decision does."""
    mismatch_alarm: PositiveFloat = 0.005
    """A warning is due when mismatch_kl between engine and learner, on the same weights, is
    above this; about half the square of a typical difference of log-probabilities, here 0.1."""

    @model_validator(mode="after")
    def _sampled_needs_no_correction(self) -> "AlgorithmConfig":
        if self.old_logprobs == "sampled" and self.importance_cap is not None:
            raise ValueError(
                f"importance_cap {self.importance_cap} corrects from sampled to recomputed "
                'log-probabilities: set it to none or old_logprobs to "recomputed"'
            )
        return self

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "AlgorithmConfig":
        given = self.model_dump(exclude_defaults=True)
        for name, readers in _READ_BY.items():
            if name in given and self.advantage not in readers:
                raise ValueError(
                    f"{name} is not read by advantage {self.advantage}: leave it at "
                    f"{type(self).model_fields[name].default}, or set advantage to "
                    f"{' or '.join(readers)}"
                )
        return self
