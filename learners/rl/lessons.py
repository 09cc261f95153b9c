"""What a batch teaches: which of its decisions, and how good they were. Pure."""

from typing import NamedTuple

from configs.rl import RlConfig
from configs.rl_algorithm import AlgorithmConfig
from learners.rl import critic
from learners.rl.advantages import ADVANTAGES, Floats
from learners.rl.critic import Groups
from learners.rl.plan import Place, lessons_of
from learners.rl.source import Share


class Lessons(NamedTuple):
    """Of a whole batch."""

    advantages: dict[Place, float]
    """The decisions to learn from, each with the advantage that it stands for, in order."""
    figures: dict[str, float]
    """How they were judged, for the metrics."""


def lessons_in(share: Share, earlier: Groups, config: RlConfig) -> Lessons:
    """By the settings of `config.algorithm`, and of what `remembered` of the step before."""
    algorithm = config.algorithm
    advantages, figures = _judged(share.groups, earlier, algorithm)
    chosen = lessons_of(advantages, algorithm.train_fraction, config.seed, share.step)
    return Lessons(chosen, figures)


def remembered(share: Share, config: RlConfig) -> Groups:
    """Of a step, by which the next one's decisions are judged too."""
    return share.groups if config.algorithm.advantage == "critic" else ()


def _judged(
    groups: Groups, earlier: Groups, config: AlgorithmConfig
) -> tuple[list[list[Floats]], dict[str, float]]:
    if config.advantage == "critic":
        judged = critic.judge(groups, earlier, config.gamma, config.trace_decay)
        return judged.advantages, {"critic_explained_variance": judged.explained_variance}
    return [ADVANTAGES[config.advantage](group, config.gamma) for group in groups], {}
