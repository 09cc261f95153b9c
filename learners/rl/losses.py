"""The losses of RL, as sums over the tokens at hand. Pure.

A batch may be cut anywhere between its rows, into micro-batches and among ranks: losses, gradients
and figures of the pieces add up to those of the whole, because what they are divided by is counted
over the whole beforehand.

Axes: T sampled tokens over the rows, V vocabulary, F figures.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from configs.rl_algorithm import AlgorithmConfig


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Sampled tokens of some rows; log-probabilities in nats, at the temperature of sampling."""

    logprobs_T: torch.Tensor
    """Of the model that learns, with a graph."""
    old_logprobs_T: torch.Tensor
    """Of the model before the step: what the engine said, or the learner before it moved."""
    sampled_logprobs_T: torch.Tensor
    """What the engine said."""
    ref_logprobs_T: torch.Tensor | None
    """Of the model that RL began with; None where nothing is weighed against it."""
    advantages_T: torch.Tensor
    rows_T: torch.Tensor
    """Number of the row that a token belongs to; a row is never cut."""
    entropy_T: torch.Tensor
    """Of the distribution that each token was drawn from, nats; with a graph where there is a
    bonus for it."""


@dataclass(frozen=True, slots=True)
class Whole:
    """The global batch: over all micro-batches and ranks."""

    num_tokens: int
    num_rows: int


@dataclass(frozen=True, slots=True)
class LossPart:
    """Of some rows; add up over all of them."""

    loss: torch.Tensor
    """Scalar with a graph."""
    sums_F: torch.Tensor
    """Figures of a `LossReport`, in its order; float64, on the CPU."""


@dataclass(frozen=True, slots=True)
class LossReport:
    """Of a whole batch; a mean over tokens where nothing else is said."""

    loss: float
    """What was minimised."""
    clip_fraction_low: float
    """Share of tokens that were bad, and already rarer than clip_low allows."""
    clip_fraction_high: float
    """Share of tokens that were good, and already likelier than clip_high allows."""
    ratio: float
    """New over old probability."""
    advantage: float
    importance_capped: float
    """Share of tokens of which importance_cap held the weight down."""
    kl_ref: float
    """Divergence from the model that RL began with, nats; 0 where it was not computed."""
    entropy: float
    """Nats."""


def clip(tokens: TokenBatch, config: AlgorithmConfig, whole: Whole) -> LossPart:
    """Clipped policy gradient: PPO (arXiv 1707.06347), with clips of their own below and above
    (DAPO, arXiv 2503.14476).

    A token adds -weight * min(ratio A, clipped ratio A) + kl_coef KL - entropy_coef entropy. KL is
    estimated as weight * ratio * (exp(d) - 1 - d), d = ref - new: k3 of Schulman, "Approximating KL
    divergence", for tokens that another policy drew (DeepSeek-V3.2, arXiv 2512.02556). Without the
    ratio a token that has become rare since would pull its policy back without bound.

    Raises:
        ValueError: kl_coef is set and there are no reference log-probabilities.
    """
    if config.kl_coef and tokens.ref_logprobs_T is None:
        raise ValueError(f"kl_coef {config.kl_coef} needs ref_logprobs_T")
    low, high = 1 - config.clip_low, 1 + config.clip_high
    ratio_T = torch.exp(tokens.logprobs_T - tokens.old_logprobs_T)
    gain_T = torch.minimum(
        ratio_T * tokens.advantages_T, ratio_T.clamp(low, high) * tokens.advantages_T
    )
    weights_T, is_capped_T = _importance(tokens, config.importance_cap)
    kl_T = weights_T * ratio_T * _kl_ref(tokens)
    loss_T = config.kl_coef * kl_T - weights_T * gain_T - config.entropy_coef * tokens.entropy_T
    loss = (loss_T * _shares(tokens, config.aggregation, whole)).sum()
    is_clipped_low_T = (tokens.advantages_T < 0) & (ratio_T < low)
    is_clipped_high_T = (tokens.advantages_T > 0) & (ratio_T > high)
    figures = (
        is_clipped_low_T,
        is_clipped_high_T,
        ratio_T,
        tokens.advantages_T,
        is_capped_T,
        kl_T,
        tokens.entropy_T,
    )
    parts = [figure.detach().double().sum() / whole.num_tokens for figure in figures]
    return LossPart(loss, torch.stack([loss.detach().double(), *parts]).cpu())


Loss = Callable[[TokenBatch, AlgorithmConfig, Whole], LossPart]
LOSSES: Final[dict[str, Loss]] = {"clip": clip}


def report(sums_F: torch.Tensor) -> LossReport:
    """Of `LossPart.sums_F`, added up over all micro-batches and ranks."""
    return LossReport(*sums_F.tolist())


def token_logprobs(
    logits_TV: torch.Tensor,
    labels_T: torch.Tensor,
    temperature_T: torch.Tensor,
    has_entropy_graph: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a model gives each sampled token, as the engine drew it: in float32.

    Args:
        logits_TV: as the model gives them.
        labels_T: the tokens.
        temperature_T: of sampling, above 0.
        has_entropy_graph: for a bonus; it keeps [T, V] floats more until the backward pass.

    Returns:
        logprobs_T, with a graph where the logits have one; entropy_T.
    """
    logprobs_TV = torch.log_softmax(logits_TV.float() / temperature_T[:, None], dim=-1)
    logprobs_T = logprobs_TV.gather(-1, labels_T[:, None])[:, 0]
    spread_TV = logprobs_TV if has_entropy_graph else logprobs_TV.detach()
    return logprobs_T, -(spread_TV.exp() * spread_TV).sum(-1)


def _importance(tokens: TokenBatch, cap: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    """[T] min(old / sampled probability, cap), without a graph, and whether it is the cap.

    Truncated importance sampling: Yao et al. 2025, "Your efficient RL framework secretly brings
    you off-policy RL training"; the two parts of the ratio are AReaL's (arXiv 2505.24298).
    """
    weights_T = torch.exp(tokens.old_logprobs_T - tokens.sampled_logprobs_T).detach()
    if cap is None:
        return torch.ones_like(weights_T), torch.zeros_like(weights_T)
    return weights_T.clamp(max=cap), weights_T > cap


def _kl_ref(tokens: TokenBatch) -> torch.Tensor:
    """[T] Estimates, each of at least 0, for tokens that the model itself draws."""
    if tokens.ref_logprobs_T is None:
        return torch.zeros_like(tokens.logprobs_T)
    above_T = tokens.ref_logprobs_T - tokens.logprobs_T
    return torch.expm1(above_T) - above_T


def _shares(tokens: TokenBatch, aggregation: str, whole: Whole) -> torch.Tensor:
    """[T] What part of the loss each token is; they add up to 1 over the global batch.

    "token" is DAPO's, "sequence" GRPO's.
    """
    if aggregation == "token":
        return torch.full_like(tokens.advantages_T, 1 / whole.num_tokens)
    lengths_T = torch.bincount(tokens.rows_T)[tokens.rows_T]
    return 1 / (whole.num_rows * lengths_T.to(tokens.advantages_T.dtype))
