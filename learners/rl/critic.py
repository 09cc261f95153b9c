"""Credit by a critic, which knows the game's facts where the player sees a picture. Pure.

A decision is good if the game was worth more after it than before: generalised advantage estimation
(GAE, arXiv 1506.02438) with a critic that reads more than the player (arXiv 1710.06542). The critic
is linear in the facts and in random features of them (Rahimi and Recht, "Weighted sums of random
kitchen sinks", 2008), and solves the equations of LSTD(lambda) (Boyan 1999) for the batch at hand.
So it has no weights of its own to learn, keep or restore. The plays of a group are judged by what
the other groups, in other worlds, have shown, and those of the batches before: so no decision is
held against its own luck.

Axes: T decisions of a play, F features.
"""

from collections.abc import Sequence
from functools import cache
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from cluster.credit import Credit
from cluster.facts import NUM_FACTS, unpack
from learners.rl.advantages import Floats, scaled, summed_to_go

_NUM_RANDOM: Final = 300
_FACTS_OF_ONE: Final = 8
"""That a random feature looks at."""
_RIDGE: Final = 10.0
"""Decisions' worth of evidence that a feature means nothing."""


Groups = Sequence[Sequence[Credit]]
"""Each of plays of one world."""


class Judged(NamedTuple):
    """What the critic says of a batch."""

    advantages: list[list[Floats]]
    """advantages_T of each play of each group, over their deviation in the whole batch."""
    explained_variance: float
    """Share of the variance of the returns-to-go that the critic has foreseen; below 0 it does more
    harm than good."""


def judge(groups: Groups, earlier: Groups, gamma: float, trace_decay: float) -> Judged:
    """Each group by a critic that is fitted to the others.

    A play that was cut off is taken to go on as its last decision found it.

    Args:
        groups: of a batch, two at least; each play with its facts.
        earlier: what the critic is fitted to besides, played by policies of not long ago.
        gamma: discount per step of the game.
        trace_decay: lambda, per decision: 0 trusts the critic for all but the next reward, 1 counts
            what came, however late.

    Raises:
        ValueError: there is one group, or a play has no facts.
    """
    if len(groups) < 2:
        raise ValueError("a critic judges a group by others: give 2 groups or more")
    parts = [_equations(group, gamma, trace_decay) for group in groups]
    known = parts + [_equations(group, gamma, trace_decay) for group in earlier]
    all_FF, all_F = sum(part[0] for part in known), sum(part[1] for part in known)
    ridge_FF = _RIDGE * np.eye(_num_features())
    found, foreseen, surprises = [], [], []
    for group, (left_FF, right_F) in zip(groups, parts, strict=True):
        weights_F = np.linalg.solve(all_FF - left_FF + ridge_FF, all_F - right_F)
        for play in group:
            values_T = _features(play) @ weights_F
            found.append(_gae(play, values_T, gamma, trace_decay))
            foreseen.append(values_T)
            surprises.append(_gae(play, values_T, gamma, 1.0))
    ends = np.cumsum([len(found_T) for found_T in found])
    each = iter(np.split(scaled(np.concatenate(found)), ends[:-1]))
    return Judged(
        advantages=[list(islice(each, len(group))) for group in groups],
        explained_variance=_explained(np.concatenate(foreseen), np.concatenate(surprises)),
    )


def _explained(foreseen_N: Floats, surprises_N: Floats) -> float:
    spread = float(np.var(foreseen_N + surprises_N))
    return 1 - float(np.mean(surprises_N**2)) / spread if spread else 0.0


def _equations(group: Sequence[Credit], gamma: float, trace_decay: float) -> tuple[Floats, Floats]:
    """[F, F] and [F] What the group says of weights_F: left_FF @ weights_F = right_F."""
    left_FF, right_F = np.zeros((_num_features(),) * 2), np.zeros(_num_features())
    for play in group:
        features_TF = _features(play)
        discounts_T = _discounts(play, gamma)
        later_TF = np.zeros_like(features_TF)
        later_TF[:-1] = features_TF[1:]
        change_TF = features_TF - discounts_T[:, None] * later_TF
        traces_TF = features_TF.copy()
        for t in range(1, len(traces_TF)):
            traces_TF[t] += trace_decay * discounts_T[t - 1] * traces_TF[t - 1]
        # What came after the last decision of a play that was cut off is unknown.
        num_known = len(features_TF) - (not play.is_terminal)
        left_FF += traces_TF[:num_known].T @ change_TF[:num_known]
        right_F += traces_TF[:num_known].T @ np.array(play.rewards_T)[:num_known]
    return left_FF, right_F


def _gae(play: Credit, values_T: Floats, gamma: float, trace_decay: float) -> Floats:
    discounts_T = _discounts(play, gamma)
    later_T = np.append(values_T[1:], 0.0 if play.is_terminal else values_T[-1])
    surprises_T = np.array(play.rewards_T) + discounts_T * later_T - values_T
    return summed_to_go(surprises_T, trace_decay * discounts_T)


def _discounts(play: Credit, gamma: float) -> Floats:
    """[T] From each decision to the next; after the last one a step is taken to pass."""
    discounts_T: Floats = gamma ** np.diff(play.steps_T, append=play.steps_T[-1] + 1)
    return discounts_T


def _features(play: Credit) -> Floats:
    """[T, F]"""
    facts_TF = unpack(play.facts).astype(np.float64) if play.facts else np.zeros((0, NUM_FACTS))
    if len(facts_TF) != len(play.rewards_T):
        raise ValueError(f"{len(play.rewards_T)} decisions with the facts of {len(facts_TF)}")
    weights_FR, biases_R = _random()
    random_TR = np.maximum(facts_TF @ weights_FR + biases_R, 0) / 2
    return np.concatenate([np.ones((len(facts_TF), 1)), facts_TF, random_TR], axis=1)


def _num_features() -> int:
    return 1 + NUM_FACTS + _NUM_RANDOM


@cache
def _random() -> tuple[Floats, Floats]:
    """[F, R] and [R] Weights and biases of the random features: the same for ever."""
    rng = np.random.default_rng(0)
    weights_FR = np.zeros((NUM_FACTS, _NUM_RANDOM))
    for r in range(_NUM_RANDOM):
        weights_FR[rng.choice(NUM_FACTS, _FACTS_OF_ONE, replace=False), r] = rng.normal(
            size=_FACTS_OF_ONE
        )
    return weights_FR, rng.normal(size=_NUM_RANDOM) / 2
