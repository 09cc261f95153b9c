"""A question to which the learner's own answer is known: how a replica proves an adapter. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.types import GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """What the learner says of one token, with the adapter that is to be proved."""

    request: GenerationRequest
    """With one picture; its version is ignored."""
    answer_prefix: str
    """The answer so far; the log-probabilities are of the next token."""
    logprobs: dict[int, float]
    """Token id -> nats, the learner's likeliest 20, at temperature 1."""
    tolerance: float
    """Largest difference allowed, nats: 1e-4 in float32."""


def disagreement(canary: Canary, told: Mapping[int, float]) -> str:
    """How an engine contradicts the learner; '' where it does not.

    Args:
        canary: the learner's word.
        told: token id -> nats by the engine, of all the canary's tokens.
    """
    if not canary.logprobs:
        return "the learner said nothing of any token, so nothing would be proved"
    gaps = {token: abs(told[token] - nats) for token, nats in canary.logprobs.items()}
    # Written so that a gap that is no number is a contradiction too.
    apart = [token for token, gap in gaps.items() if not gap <= canary.tolerance]
    if not apart:
        return ""
    worst = max(apart, key=lambda token: (gaps[token] != gaps[token], gaps[token]))
    return (
        f"{len(apart)} of {len(gaps)} tokens of the canary are more than {canary.tolerance:g} nats "
        f"from the learner's, token {worst} the most: {told[worst]:.6g} here, "
        f"{canary.logprobs[worst]:.6g} there"
    )
