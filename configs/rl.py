"""Reinforcement learning: an adapter that learns from its own play."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from configs.base import Section
from configs.jobs import PlayedRun
from configs.learning import LearnerWorkersConfig, LoraConfig, OptimConfig
from configs.player import VllmPlayer
from configs.rl_algorithm import AlgorithmConfig
from configs.seeds import Seeds

_SPARE_VERSIONS: Final = 2
"""Beside those that play: one being loaded, one being evaluated."""


def _served(value: Any) -> Any:
    return {"kind": "vllm", **value} if isinstance(value, dict) else value


class RlOptimConfig(OptimConfig):
    """AdamW and its learning rate over the run. Its steps are the run's: all updates of a step
    have the same rate."""

    learning_rate: PositiveFloat = 1e-4
    """At its highest."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps in which it rises from 0."""
    decay: Literal["constant", "linear", "cosine"] = "constant"
    """How it falls to 0 from there to the last step."""


class RlEvalConfig(Section):
    """Play in worlds that are not trained in, while training goes on."""

    every_steps: PositiveInt | None = 10
    """Steps between two evaluations, start and end included; none: never."""
    seeds: Seeds = tuple(range(11_000, 11_032))
    """Worlds, each played once; none of them may be trained in."""
    patience: PositiveInt | None = None
    """End after so many evaluations without a higher mean return; none: go on to the last step."""


class RlCheckpointConfig(Section):
    """What is kept of a run under way, and what it leaves. There is a checkpoint at every step."""

    keep: PositiveInt = 2
    """How many of the last ones stay; the best one always does, and those that are still to be
    evaluated."""
    final: Literal["best", "last"] = "best"
    """Which one becomes the run's adapter: that of the highest mean return when evaluated, or the
    last."""


class RlConfig(PlayedRun):
    """A LoRA adapter from the rewards of its own play. `seeds` are the worlds to train in."""

    policy: Annotated[VllmPlayer, BeforeValidator(_served)]
    """Who plays and learns; its adapter is where learning starts and what kl_coef holds it to."""
    lora: LoraConfig = LoraConfig()
    optim: RlOptimConfig = RlOptimConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    num_steps: PositiveInt
    """Steps: one batch of groups, one checkpoint and one new version of the policy each."""
    groups_per_step: PositiveInt = 8
    """Groups in a batch; a group is plays of one world, held against each other."""
    group_size: PositiveInt = 8
    """Plays in a group."""
    max_staleness: int = Field(default=1, ge=0)
    """Versions that a decision may be behind the policy that learns from it; 0 is synchronous."""
    minibatch_size: PositiveInt = 256
    """Most decisions to an optimizer update, over all workers."""
    turn_version: Literal["pinned", "newest"] = "pinned"
    """Which version takes an episode's decisions: the one that it began with, or the newest."""
    seed: int = Field(default=0, ge=0)
    """Of new matrices and of the order of decisions. Worlds are played in the order of `seeds`."""
    evaluation: RlEvalConfig = RlEvalConfig()
    checkpoint: RlCheckpointConfig = RlCheckpointConfig()
    learner: LearnerWorkersConfig = LearnerWorkersConfig()
    max_held_gib: PositiveFloat = 4.0
    """Of played episodes that wait to be trained on; with more of them no new group is begun."""
    max_consecutive_drops: PositiveInt = 64
    """Groups that teach nothing, one after the other, that end the run."""

    @property
    def dtype(self) -> Literal["float32", "bfloat16"]:
        """Of the learner's base weights and arithmetic: the replicas' own, so that both agree on
        log-probabilities. What is trained is float32 always."""
        return self.policy.engine.dtype

    def is_evaluated(self, step: int) -> bool:
        """Whether the policy after `step` steps is to be evaluated."""
        every = self.evaluation.every_steps
        return every is not None and (step % every == 0 or step == self.num_steps)

    @model_validator(mode="after")
    def _samples_tell_their_probability(self) -> "RlConfig":
        if self.policy.temperature == 0:
            raise ValueError(
                "policy.temperature 0 always plays the same, so a group has nothing to compare: "
                "set it above 0; 1 is usual"
            )
        if self.policy.top_p < 1:
            raise ValueError(
                f"policy.top_p {self.policy.top_p} cuts the distribution that is sampled, and "
                "the learner's log-probabilities would be of another one: set it to 1"
            )
        if self.policy.foreign_frames:
            raise ValueError(
                "policy.foreign_frames shows the pictures of another world, from which nothing "
                "can be learned: set it to false"
            )
        if self.lora.dropout:
            raise ValueError(
                f"lora.dropout {self.lora.dropout} is unknown to the replicas, and would count as "
                "a difference between old and new policy: set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _old_play_is_weighted(self) -> "RlConfig":
        algorithm = self.algorithm
        is_unweighted = algorithm.old_logprobs == "recomputed" and algorithm.importance_cap is None
        if self.max_staleness and is_unweighted:
            raise ValueError(
                f'algorithm.old_logprobs "recomputed" with max_staleness {self.max_staleness} '
                "takes older policies' play for the newest one's: give algorithm.importance_cap, "
                "2 is usual"
            )
        return self

    @model_validator(mode="after")
    def _groups_can_teach(self) -> "RlConfig":
        if self.algorithm.advantage == "critic":
            if self.groups_per_step == 1:
                raise ValueError(
                    "groups_per_step 1 leaves the critic nothing to learn from: it judges a group "
                    "by the others; give 2 or more"
                )
        elif self.group_size == 1:
            raise ValueError(
                "group_size 1 leaves nothing to compare: the advantage of a play over itself is "
                'always 0; give 2 or more, or algorithm.advantage "critic"'
            )
        num_plays, num_workers = self.groups_per_step * self.group_size, self.learner.num_workers
        if min(num_plays, self.minibatch_size) < num_workers:
            what = "groups_per_step x group_size" if num_plays < num_workers else "minibatch_size"
            raise ValueError(
                f"{what} {min(num_plays, self.minibatch_size)} leaves some of {num_workers} "
                "workers without work: raise it or lower learner.num_workers"
            )
        return self

    @model_validator(mode="after")
    def _warmup_leaves_steps(self) -> "RlConfig":
        warmup_steps = self.optim.warmup_steps
        if warmup_steps >= self.num_steps:
            raise ValueError(
                f"optim.warmup_steps {warmup_steps} leaves nothing of {self.num_steps} steps: "
                "lower it"
            )
        return self

    @model_validator(mode="after")
    def _replicas_can_serve_it(self) -> "RlConfig":
        serving = self.policy.engine.lora
        if serving is None:
            raise ValueError("policy.engine.lora is missing: what is learned is a LoRA adapter")
        if serving.max_rank < self.lora.r:
            raise ValueError(
                f"lora.r {self.lora.r} is above policy.engine.lora.max_rank {serving.max_rank}: "
                "raise the second"
            )
        if self.lora.tower and not serving.tower:
            raise ValueError(
                "lora.tower trains the vision tower, which the replicas would ignore: set "
                "policy.engine.lora.tower too"
            )
        least = self.max_staleness + 1 + _SPARE_VERSIONS
        if serving.max_versions < least:
            raise ValueError(
                f"policy.engine.lora.max_versions {serving.max_versions} is too few: with "
                f"max_staleness {self.max_staleness}, {self.max_staleness + 1} may be playing "
                f"while one is loaded and one evaluated; give {least}"
            )
        return self

    @model_validator(mode="after")
    def _evaluation_is_apart(self) -> "RlConfig":
        if self.evaluation.every_steps is None:
            if self.checkpoint.final == "best":
                raise ValueError(
                    'checkpoint.final "best" needs evaluation.every_steps; without it give "last"'
                )
            if self.evaluation.patience is not None:
                raise ValueError("evaluation.patience needs evaluation.every_steps")
            return self
        both = sorted(set(self.seeds) & set(self.evaluation.seeds))
        if both:
            raise ValueError(
                f"seed {both[0]} is among both seeds and evaluation.seeds: an evaluation in a "
                "world that was trained in proves nothing"
            )
        return self
