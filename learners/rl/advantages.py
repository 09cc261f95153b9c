"""How much better than its group each decision was. Pure.

A group is trajectories of one world, played by policies that differ in their samples alone.
Axes: T decisions of one trajectory, S of another, G trajectories.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.credit import Credit

Floats = npt.NDArray[np.float64]

FLAT_BELOW: Final = 1e-8
"""Differences of returns that are rounding: Crafter's rewards are multiples of 0.1."""


def grpo(group: Sequence[Credit], gamma: float) -> list[Floats]:
    """(R - mean) / std of the returns R, for every decision alike (arXiv 2402.03300).

    Undiscounted. The deviation is the population's, so two unequal trajectories get +1 and -1.
    Nothing is added to it: a group that differs by rounding alone is flat and gets zeros.
    """
    return _for_every_decision(scaled(_above_mean(group)), group)


def dr_grpo(group: Sequence[Credit], gamma: float) -> list[Floats]:
    """R - mean of the returns R, for every decision alike (arXiv 2503.20783).

    Undiscounted and undivided: a group that differs much teaches much.
    """
    return _for_every_decision(_without_rounding(_above_mean(group)), group)


def turn(group: Sequence[Credit], gamma: float) -> list[Floats]:
    """Each decision's return-to-go against the group's at the same step of the game, scaled.

    G_t = r_t + gamma^(steps to the next decision) G_t+1. The baseline at step s is the mean over
    the group, its own trajectory included, of the return-to-go from s. For a trajectory that is

    - between decisions at s: that of its next decision, discounted to s;
    - dead by s: 0;
    - cut off by a limit before s: left out of the mean.

    Decisions without a step, as bad calls are, share a step: the n-th there is held against the
    n-th of each other trajectory, or its last there.

    The scale is one standard deviation around the baseline, over the decisions of the whole
    group: over the few trajectories at a single step it would be noise.
    """
    to_go_GT = [returns_to_go(played, gamma) for played in group]
    residuals = []
    for own, own_T in zip(group, to_go_GT, strict=True):
        steps_T = np.array(own.steps_T)
        seen_GT = [
            _seen_from(steps_T, other, other_S, gamma)
            for other, other_S in zip(group, to_go_GT, strict=True)
        ]
        residuals.append(own_T - np.nanmean(seen_GT, axis=0))
    ends = np.cumsum([len(residual_T) for residual_T in residuals])
    return np.split(scaled(np.concatenate(residuals)), ends[:-1])


ADVANTAGES: Final[dict[str, Callable[[Sequence[Credit], float], list[Floats]]]] = {
    "turn": turn,
    "grpo": grpo,
    "dr_grpo": dr_grpo,
}
"""By name: of a group and gamma (discount per step of the game; only `turn` has a use for it), the
advantages_T of each trajectory."""


def is_flat(advantages: Sequence[Floats]) -> bool:
    """Whether a group's advantages are all zero, so that it teaches nothing."""
    return not any(advantages_T.any() for advantages_T in advantages)


def returns_to_go(played: Credit, gamma: float) -> Floats:
    """[T] What came from each decision on, discounted per step of the game to that decision."""
    return summed_to_go(np.array(played.rewards_T), gamma ** np.diff(played.steps_T))


def summed_to_go(values_T: Floats, decays_T: Floats) -> Floats:
    """[T] Each value and what follows it, which counts decays_T[t] as much from t on as from
    t + 1."""
    summed_T = values_T.astype(np.float64)
    for t in range(len(summed_T) - 2, -1, -1):
        summed_T[t] += decays_T[t] * summed_T[t + 1]
    return summed_T


def _seen_from(
    steps_T: npt.NDArray[np.int64], other: Credit, other_S: Floats, gamma: float
) -> Floats:
    """[T] Another's return-to-go from each of these steps; NaN where it was cut off before."""
    first_T = np.searchsorted(other.steps_T, steps_T)
    last_T = np.searchsorted(other.steps_T, steps_T, side="right") - 1
    nth_T = np.arange(len(steps_T)) - np.searchsorted(steps_T, steps_T)
    place_T = np.maximum(first_T, np.minimum(first_T + nth_T, last_T))
    is_over_T = place_T == len(other_S)
    place_T[is_over_T] = 0
    wait_T = np.where(is_over_T, 0, np.array(other.steps_T)[place_T] - steps_T)
    to_go_T: Floats = gamma**wait_T * other_S[place_T]
    to_go_T[is_over_T] = 0.0 if other.is_terminal else np.nan
    return to_go_T


def _above_mean(group: Sequence[Credit]) -> Floats:
    """[G] Each return less their mean."""
    returns_G = np.array([math.fsum(played.rewards_T) for played in group])
    above_G: Floats = returns_G - returns_G.mean()
    return above_G


def _for_every_decision(values_G: Floats, group: Sequence[Credit]) -> list[Floats]:
    lengths = [len(played.rewards_T) for played in group]
    return [np.full(n, value) for n, value in zip(lengths, values_G, strict=True)]


def scaled(residuals: Floats) -> Floats:
    """Over their deviation from zero, which is where a baseline puts the middle."""
    kept = _without_rounding(residuals)
    deviation = math.sqrt(float(np.mean(kept**2)))
    return kept / deviation if deviation else kept


def _without_rounding(residuals: Floats) -> Floats:
    """Exact zeros where all there is is rounding."""
    return residuals if np.abs(residuals).max() >= FLAT_BELOW else np.zeros_like(residuals)
