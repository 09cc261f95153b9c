"""What a batch teaches: which of its decisions, and how good they were. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from cluster.credit import Credit
from configs.rl import RlConfig
from configs.rl_algorithm import AlgorithmConfig
from learners.rl import critic
from learners.rl.advantages import ADVANTAGES, Floats
from learners.rl.plan import Place, lessons_of
from learners.rl.source import Share


class Lessons(NamedTuple):
    """Of a whole batch."""

    advantages: dict[Place, float]
    """The decisions to learn from, each with the advantage that it stands for, in order."""
    figures: dict[str, float]
    """How they were judged, for the metrics."""


def lessons_in(share: Share, config: RlConfig) -> Lessons:
    """By the settings of `config.algorithm`."""
    algorithm = config.algorithm
    advantages, figures = _judged(share.groups, algorithm)
    chosen = lessons_of(advantages, algorithm.train_fraction, config.seed, share.step)
    return Lessons(chosen, figures)


def _judged(
    groups: Sequence[Sequence[Credit]], config: AlgorithmConfig
) -> tuple[list[list[Floats]], dict[str, float]]:
    if config.advantage == "critic":
        judged = critic.judge(groups, config.gamma, config.trace_decay)
        return judged.advantages, {"critic_explained_variance": judged.explained_variance}
    return [ADVANTAGES[config.advantage](group, config.gamma) for group in groups], {}
