"""How far the engine's log-probabilities are from the learner's, on the same weights. Pure.

Both compute the same function in different ways; a large difference means that they don't: another
adapter, another picture, another temperature. Axes: T sampled tokens.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class MismatchPart:
    """Of some tokens."""

    sums: torch.Tensor
    """[5] Add up; float64, on the CPU."""
    largest: torch.Tensor
    """[] The largest counts; float64, on the CPU."""

    def __add__(self, other: "MismatchPart") -> "MismatchPart":
        return MismatchPart(self.sums + other.sums, torch.maximum(self.largest, other.largest))


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Of all tokens; d is the learner's less the engine's log-probability of a token."""

    mismatch_kl: float
    """Divergence of the learner from the engine in nats, the mean of exp(d) - 1 - d."""
    mean_abs: float
    """Mean of |d|, nats."""
    max_ratio: float
    """exp of the largest |d|; 1 is none."""
    effective_sample_size: float
    """Share of the tokens that are left in effect by weighting them by w = exp(d):
    (sum of w)^2 / (number * sum of w^2)."""


def compare(learner_T: torch.Tensor, sampled_T: torch.Tensor) -> MismatchPart:
    """Of the learner's and the engine's log-probabilities; there may be no token."""
    d_T = (learner_T.detach().double() - sampled_T.double()).cpu()
    w_T, abs_T = d_T.exp(), d_T.abs()
    kl_T = torch.expm1(d_T) - d_T
    figures = (torch.ones_like(d_T), kl_T, abs_T, w_T, w_T**2)
    largest = torch.cat([abs_T, torch.zeros(1, dtype=torch.float64)]).max()
    return MismatchPart(torch.stack([figure.sum() for figure in figures]), largest)


def mismatch(part: MismatchPart) -> Mismatch:
    """Of all tokens' sums and maximum.

    Raises:
        ValueError: there was no token.
    """
    count, kl, absolute, weight, weight_squared = part.sums
    if not count:
        raise ValueError("no token to compare engine and learner on")
    return Mismatch(
        mismatch_kl=float(kl / count),
        mean_abs=float(absolute / count),
        max_ratio=float(part.largest.exp()),
        effective_sample_size=float(weight**2 / (count * weight_squared)),
    )


def alarm(metrics: Mismatch, threshold: float) -> str:
    """A sentence where engine and learner are further apart than `threshold` nats; '' else."""
    if metrics.mismatch_kl <= threshold:
        return ""
    return (
        f"mismatch_kl {metrics.mismatch_kl:.3g} between engine and learner is above "
        f"{threshold:g}: on the same weights they should agree; compare adapter, pictures and "
        "temperature of both"
    )
