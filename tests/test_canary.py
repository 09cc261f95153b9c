"""When an engine's word contradicts the learner's."""

import math

import pytest

from cluster.canary import Canary, disagreement
from tests.light_replica import REQUEST


def canary(logprobs: dict[int, float]) -> Canary:
    return Canary(request=REQUEST, answer_prefix="", logprobs=logprobs, tolerance=0.1)


SAID = canary({7: -0.5, 8: -1.5})


def test_within_the_tolerance_there_is_no_contradiction() -> None:
    assert disagreement(SAID, {7: -0.55, 8: -1.42}) == ""


def test_one_token_apart_is_one_too_many() -> None:
    said = disagreement(SAID, {7: -0.5, 8: -1.7})
    assert said.startswith("1 of 2 tokens of the canary are more than 0.1 nats")
    assert said.endswith("token 8 the most: -1.7 here, -1.5 there")


def test_the_token_furthest_apart_is_named() -> None:
    assert "token 7 the most: -2 here" in disagreement(SAID, {7: -2.0, 8: -1.7})


@pytest.mark.parametrize("nats", [math.nan, -math.inf])
def test_what_is_no_number_is_a_contradiction(nats: float) -> None:
    assert "token 7 the most" in disagreement(SAID, {7: nats, 8: -9.0})


def test_a_learner_that_says_nothing_proves_nothing() -> None:
    assert "nothing would be proved" in disagreement(canary({}), {})
