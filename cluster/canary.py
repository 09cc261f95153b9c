"""A question to which the learner's own answer is known: how a replica proves an adapter. Pure."""

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
