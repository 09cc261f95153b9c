"""The clipped policy gradient: worked by hand, cut into pieces, and which way it pulls."""

import math
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.rl_algorithm import AlgorithmConfig
from learners.rl.losses import LOSSES, LossPart, TokenBatch, Whole, clip, report, token_logprobs

pytestmark = [pytest.mark.vision, pytest.mark.usefixtures("one_thread")]

THREE = Whole(num_tokens=3, num_rows=2)
PLAIN = {"entropy_coef": 0.0}


def logs(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def three(**changes: Any) -> TokenBatch:
    """Ratios 1.2, 1.4, 0.6; gains 1.2, 1.28 (cut), -0.8 (cut); the first two are of one row."""
    tensors: dict[str, Any] = {
        "logprobs_T": logs(0.6, 0.7, 0.3).requires_grad_(),
        "old_logprobs_T": logs(0.5, 0.5, 0.5),
        "sampled_logprobs_T": logs(0.5, 0.5, 0.5),
        "ref_logprobs_T": None,
        "advantages_T": torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64),
        "rows_T": torch.tensor([0, 0, 1]),
        "entropy_T": torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
    }
    return TokenBatch(**tensors | changes)


def part(tokens: TokenBatch, **settings: Any) -> LossPart:
    return clip(tokens, AlgorithmConfig(**PLAIN | settings), THREE)


def gradient(tokens: TokenBatch, **settings: Any) -> list[float]:
    (grad_T,) = torch.autograd.grad(part(tokens, **settings).loss, tokens.logprobs_T)
    return grad_T.tolist()


def test_tokens_by_hand() -> None:
    assert part(three()).loss.item() == pytest.approx(-(1.2 + 1.28 - 0.8) / 3)


def test_sequences_by_hand() -> None:
    expected = -((1.2 + 1.28) / 2 - 0.8) / 2
    assert part(three(), aggregation="sequence").loss.item() == pytest.approx(expected)


def test_importance_by_hand() -> None:
    # Recomputed over sampled: 1.25, 5 (held at 2), 1.
    tokens = three(sampled_logprobs_T=logs(0.4, 0.1, 0.5))
    told = part(tokens, old_logprobs="recomputed", importance_cap=2.0)
    assert told.loss.item() == pytest.approx(-(1.25 * 1.2 + 2 * 1.28 - 0.8) / 3)
    assert report(told.sums_F).importance_capped == pytest.approx(1 / 3)


def test_without_a_cap_what_was_sampled_does_not_matter() -> None:
    tokens = three(sampled_logprobs_T=logs(0.4, 0.1, 0.5))
    assert part(tokens, old_logprobs="recomputed").loss.item() == part(three()).loss.item()


def test_kl_by_hand() -> None:
    # ref / new 1/2, 1, 3: 1/2 - 1 + ln 2, 0 and 3 - 1 - ln 3; ratios 1.2, 1.4, 0.6.
    tokens = three(ref_logprobs_T=logs(0.3, 0.7, 0.9))
    kl = (1.2 * (math.log(2) - 0.5) + 0.6 * (2 - math.log(3))) / 3
    told = part(tokens, kl_coef=0.3)
    assert told.loss.item() == pytest.approx(-1.68 / 3 + 0.3 * kl)
    assert report(told.sums_F).kl_ref == pytest.approx(kl)


def test_entropy_by_hand() -> None:
    assert part(three(), entropy_coef=0.1).loss.item() == pytest.approx(-1.68 / 3 - 0.1 * 2)


def test_the_report_by_hand() -> None:
    # Ratios 1.4, 1.4, 0.6.
    told = report(part(three(logprobs_T=logs(0.7, 0.7, 0.3))).sums_F)
    assert told.loss == pytest.approx(-(2 * 1.28 - 0.8) / 3)
    assert told.clip_fraction_low == pytest.approx(1 / 3)
    assert told.clip_fraction_high == pytest.approx(2 / 3)
    assert told.ratio == pytest.approx(3.4 / 3)
    assert told.advantage == pytest.approx(1 / 3)
    assert told.entropy == pytest.approx(2)
    assert (told.importance_capped, told.kl_ref) == (0, 0)


def test_the_gradient_by_hand() -> None:
    assert gradient(three()) == pytest.approx([-1.2 / 3, 0, 0])


@pytest.mark.parametrize(
    ("probability", "advantage", "expected"),
    [
        (0.7, 1.0, 0.0),  # likelier than it may become
        (0.3, -1.0, 0.0),  # rarer than it may become
        (0.3, 1.0, -0.6),  # good and rarer: let it come back
        (0.7, -1.0, 1.4),  # bad and likelier: let it come back
        (0.5, 1.0, -1.0),
        (0.5, -1.0, 1.0),
    ],
)
def test_what_is_clipped_and_what_is_not(
    probability: float, advantage: float, expected: float
) -> None:
    tokens = three(
        logprobs_T=logs(probability, 0.5, 0.5).requires_grad_(),
        advantages_T=torch.tensor([advantage, 0, 0], dtype=torch.float64),
    )
    assert gradient(tokens)[0] * 3 == pytest.approx(expected)


def test_a_better_than_average_token_becomes_likelier() -> None:
    logits_TV = torch.zeros(2, 3, requires_grad=True)
    labels_T = torch.tensor([0, 0])
    logprobs_T, entropy_T = token_logprobs(logits_TV, labels_T, torch.ones(2))
    old_T = logprobs_T.detach()
    advantages_T = torch.tensor([1.0, -1.0])
    tokens = TokenBatch(
        logprobs_T, old_T, old_T, None, advantages_T, torch.tensor([0, 1]), entropy_T
    )
    (grad_TV,) = torch.autograd.grad(part(tokens).loss, logits_TV)
    assert (-grad_TV[0]).argmax() == 0
    assert (-grad_TV[1]).argmin() == 0


def test_kl_pulls_towards_the_reference() -> None:
    tokens = three(
        ref_logprobs_T=logs(0.9, 0.7, 0.1), advantages_T=torch.zeros(3, dtype=torch.float64)
    )
    rarer, same, likelier = gradient(tokens, kl_coef=1.0)
    assert rarer < 0
    assert same == pytest.approx(0)
    assert likelier > 0


def test_the_divergence_and_its_gradient_are_right_on_average_whoever_drew_the_tokens() -> None:
    new_logits_V = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64, requires_grad=True)
    new_V, drew_V, old_V = new_logits_V.softmax(0), logs(0.6, 0.1, 0.3), logs(0.5, 0.2, 0.3)
    ref_V = logs(0.2, 0.1, 0.7)
    exactly = (new_V * (new_V.log() - ref_V)).sum()
    estimate = torch.zeros((), dtype=torch.float64)
    for token in range(3):
        tokens = TokenBatch(
            *(values_V[None, token] for values_V in (new_V.log(), old_V, drew_V, ref_V)),
            *(torch.zeros(1, dtype=dtype) for dtype in (torch.float64, torch.int64, torch.float64)),
        )
        config = AlgorithmConfig(
            **PLAIN | {"old_logprobs": "recomputed", "importance_cap": 9, "kl_coef": 1}
        )
        estimate = estimate + drew_V[token].exp() * clip(tokens, config, Whole(1, 1)).loss
    assert estimate.item() == pytest.approx(exactly.item())
    (right_V,) = torch.autograd.grad(exactly, new_logits_V, retain_graph=True)
    (told_V,) = torch.autograd.grad(estimate, new_logits_V)
    assert told_V.tolist() == pytest.approx(right_V.tolist())


def test_the_entropy_bonus_flattens() -> None:
    logits_TV = torch.tensor([[2.0, 0.0, 0.0]], requires_grad=True)
    logprobs_T, entropy_T = token_logprobs(
        logits_TV, torch.tensor([0]), torch.ones(1), has_entropy_graph=True
    )
    zero_T, old_T = torch.zeros(1), logprobs_T.detach()
    tokens = TokenBatch(logprobs_T, old_T, old_T, None, zero_T, torch.tensor([0]), entropy_T)
    (grad_TV,) = torch.autograd.grad(part(tokens, entropy_coef=1.0).loss, logits_TV)
    assert (-grad_TV[0]).argmin() == 0


def test_no_gradient_flows_through_importance() -> None:
    old_T = logs(0.5, 0.5, 0.5).requires_grad_()
    tokens = three(
        old_logprobs_T=old_T, sampled_logprobs_T=old_T / 1.1, logprobs_T=logs(0.6, 0.7, 0.3)
    )
    told = part(tokens, old_logprobs="recomputed", importance_cap=5.0)
    weight = math.exp(math.log(0.5) * (1 - 1 / 1.1))
    # Of the ratio alone: d(-weight * ratio) / d old = weight * ratio.
    (grad_T,) = torch.autograd.grad(told.loss, old_T)
    assert grad_T.tolist() == pytest.approx([weight * 1.2 / 3, 0, 0])


def test_a_divergence_needs_something_to_diverge_from() -> None:
    with pytest.raises(ValueError, match=r"kl_coef 0.1 needs ref_logprobs_T"):
        part(three(), kl_coef=0.1)


def test_losses_are_found_by_name() -> None:
    assert LOSSES["clip"] is clip


some_row = st.tuples(st.integers(1, 5), st.integers(0, 2))
"""Tokens of a row, and the piece that the row goes to."""


def drawn(lengths: Sequence[int], seed: int) -> TokenBatch:
    torch.manual_seed(seed)
    rows_T = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    logprobs_T, old_T, sampled_T, ref_T = torch.rand(4, len(rows_T), dtype=torch.float64).log()
    advantages_T, entropy_T = torch.randn(2, len(rows_T), dtype=torch.float64)
    return TokenBatch(
        logprobs_T.clone().requires_grad_(),
        old_T,
        sampled_T,
        ref_T,
        advantages_T,
        rows_T,
        entropy_T,
    )


def piece(tokens: TokenBatch, is_in_T: torch.Tensor) -> TokenBatch:
    """Its rows counted anew, as a micro-batch does."""
    return TokenBatch(
        tokens.logprobs_T[is_in_T],
        tokens.old_logprobs_T[is_in_T],
        tokens.sampled_logprobs_T[is_in_T],
        None if tokens.ref_logprobs_T is None else tokens.ref_logprobs_T[is_in_T],
        tokens.advantages_T[is_in_T],
        torch.unique(tokens.rows_T[is_in_T], return_inverse=True)[1],
        tokens.entropy_T[is_in_T],
    )


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(some_row, min_size=1, max_size=8),
    seed=st.integers(0, 2**32),
    aggregation=st.sampled_from(["token", "sequence"]),
)
def test_pieces_add_up_to_the_whole(
    rows: list[tuple[int, int]], seed: int, aggregation: Any
) -> None:
    config = AlgorithmConfig(
        old_logprobs="recomputed", importance_cap=2, kl_coef=0.1, aggregation=aggregation
    )
    tokens = drawn([length for length, _ in rows], seed)
    whole = Whole(len(tokens.rows_T), len(rows))
    at_once = clip(tokens, config, whole)
    place_T = torch.tensor([place for _, place in rows])[tokens.rows_T]
    pieces = [clip(piece(tokens, place_T == place), config, whole) for place in range(3)]
    together = sum((one.loss for one in pieces), torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(together, at_once.loss)
    torch.testing.assert_close(sum(one.sums_F for one in pieces), at_once.sums_F)
    for ours, theirs in zip(
        torch.autograd.grad(together, tokens.logprobs_T),
        torch.autograd.grad(at_once.loss, tokens.logprobs_T),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_piece_without_tokens_adds_nothing() -> None:
    tokens = three()
    nothing = part(piece(tokens, torch.zeros(3, dtype=torch.bool)), aggregation="sequence")
    (grad_T,) = torch.autograd.grad(nothing.loss, tokens.logprobs_T)
    assert set(astuple(report(nothing.sums_F))) == {0.0}
    assert not grad_T.any()


def test_log_probabilities_by_hand() -> None:
    # Odds 1:3 as they are, 1:9 at temperature 1/2, and 1:9 flattened to 1:3 at 2.
    logits_TV = torch.tensor([[0, math.log(3)], [0, math.log(3)], [0, math.log(9)]])
    logprobs_T, _ = token_logprobs(
        logits_TV, torch.tensor([0, 1, 1]), torch.tensor([1.0, 0.5, 2.0])
    )
    assert logprobs_T.exp().tolist() == pytest.approx([1 / 4, 9 / 10, 3 / 4])


def test_entropy_of_logits_by_hand() -> None:
    logits_TV = torch.tensor([[5.0, 5.0], [0, math.log(3)], [0, 99.0]])
    _, entropy_T = token_logprobs(logits_TV, torch.tensor([0, 0, 0]), torch.ones(3))
    quarter = 2 * math.log(2) - 0.75 * math.log(3)
    assert entropy_T.tolist() == pytest.approx([math.log(2), quarter, 0], abs=1e-6)


def test_entropy_has_a_graph_only_where_asked() -> None:
    logits_TV = torch.zeros(1, 2, requires_grad=True)
    arguments = (logits_TV, torch.tensor([0]), torch.ones(1))
    assert not token_logprobs(*arguments)[1].requires_grad
    assert token_logprobs(*arguments, has_entropy_graph=True)[1].requires_grad


def test_log_probabilities_are_float32() -> None:
    logits_TV = torch.zeros(1, 2, dtype=torch.bfloat16)
    temperature_T = torch.ones(1, dtype=torch.bfloat16)
    logprobs_T, entropy_T = token_logprobs(logits_TV, torch.tensor([0]), temperature_T)
    assert (logprobs_T.dtype, entropy_T.dtype) == (torch.float32, torch.float32)
