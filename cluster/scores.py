"""What many episodes say of a player, with intervals. Pure numpy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cluster.names import ACHIEVEMENTS
from cluster.types import Summary

_RESAMPLES: Final = 2000
_LEVEL: Final = 0.95

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A bootstrap interval at 95 %."""

    low: float
    high: float


def crafter_score(success_A: Floats) -> Any:
    """Geometric mean of (1 + success in percent), less 1, over the last axis.

    Hafner, "Benchmarking the Spectrum of Agent Capabilities" (arXiv:2109.06780), section 4.
    """
    return np.exp(np.log1p(100.0 * success_A).mean(axis=-1)) - 1.0


def bootstrap(
    values_NA: Floats, worlds_N: Sequence[int], statistic: Callable[[Floats], Any], seed: int = 0
) -> Interval:
    """Percentile interval of `statistic(mean over episodes)`.

    Whole worlds are drawn, so that several plays of one world count as the kin they are.

    Args:
        values_NA: one row for each episode.
        worlds_N: the world of each.
        statistic: of a mean row, or of a stack of them.
        seed: of the resampling.
    """
    worlds, index_N = np.unique(np.asarray(worlds_N), return_inverse=True)
    sums_WA = np.zeros((len(worlds), values_NA.shape[1]))
    np.add.at(sums_WA, index_N, values_NA)
    sizes_W = np.bincount(index_N, minlength=len(worlds)).astype(float)
    rng = np.random.default_rng(seed)
    draws_RW = rng.multinomial(len(worlds), np.full(len(worlds), 1 / len(worlds)), _RESAMPLES)
    means_RA = (draws_RW @ sums_WA) / (draws_RW @ sizes_W)[:, None]
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(statistic(means_RA), [tail, 1 - tail])
    return Interval(float(low), float(high))


def unlocked_matrix(summaries: Sequence[Summary]) -> Floats:
    """[episodes, 22], 1 where an achievement was unlocked."""
    return np.array(
        [[float(name in summary.achievements) for name in ACHIEVEMENTS] for summary in summaries]
    )


def score(summaries: Sequence[Summary]) -> dict[str, Any]:
    """The figures of one player.

    Raises:
        ValueError: there are no episodes.
    """
    if not summaries:
        raise ValueError("no episodes to score")
    unlocked_NA = unlocked_matrix(summaries)
    worlds_N = [summary.spec.seed for summary in summaries]
    success_A = unlocked_NA.mean(axis=0)
    mean = float(unlocked_NA.sum(axis=1).mean())
    mean_ci = bootstrap(unlocked_NA, worlds_N, lambda means: means.sum(axis=-1))
    score_ci = bootstrap(unlocked_NA, worlds_N, crafter_score)
    return {
        "episodes": len(summaries),
        "mean_steps": _mean(summaries, lambda summary: summary.num_turns),
        "mean_env_steps": _mean(summaries, lambda summary: summary.num_env_steps),
        "mean_achievements": mean,
        "mean_achievements_ci": [mean_ci.low, mean_ci.high],
        "progress": mean / len(ACHIEVEMENTS),
        "crafter_score": float(crafter_score(success_A)),
        "crafter_score_ci": [score_ci.low, score_ci.high],
        "success": dict(zip(ACHIEVEMENTS, success_A.tolist(), strict=True)),
        "mean_return": _mean(summaries, lambda summary: summary.total_reward),
        "total_tool_calls": sum(summary.num_tool_calls for summary in summaries),
        "invalid_calls": _sum_by_kind(summary.invalid_calls for summary in summaries),
        "endings": _sum_by_kind({summary.ending.value: 1} for summary in summaries),
        "total_prompt_tokens": sum(summary.num_prompt_tokens for summary in summaries),
        "total_completion_tokens": sum(summary.num_completion_tokens for summary in summaries),
        "cost_usd": sum(summary.cost_usd for summary in summaries),
    }


def gain(summaries: Sequence[Summary], baseline: Sequence[Summary]) -> dict[str, Any]:
    """How many achievements more than the baseline, over pairs of plays of one spec.

    Raises:
        ValueError: they did not play the same.
    """
    own, other = ({one.spec: one for one in played} for played in (summaries, baseline))
    if own.keys() != other.keys():
        raise ValueError(f"{len(own.keys() ^ other.keys())} plays have no pair")
    more_NA = unlocked_matrix([*own.values()]) - unlocked_matrix([other[spec] for spec in own])
    interval = bootstrap(more_NA, [spec.seed for spec in own], lambda means: means.sum(axis=-1))
    return {
        "achievements": float(more_NA.sum(axis=1).mean()),
        "achievements_ci": [interval.low, interval.high],
    }


def _mean(summaries: Sequence[Summary], of: Callable[[Summary], float]) -> float:
    return float(np.mean([of(summary) for summary in summaries]))


def _sum_by_kind(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for count in counts:
        for kind, number in count.items():
            total[kind] = total.get(kind, 0) + number
    return dict(sorted(total.items()))
