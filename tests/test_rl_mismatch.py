"""Engine against learner: figures by hand, pieces that add up, and the alarm."""

import math

import pytest
import torch

from learners.rl.mismatch import Mismatch, MismatchPart, alarm, compare, mismatch

pytestmark = [pytest.mark.vision, pytest.mark.usefixtures("one_thread")]


def three() -> tuple[torch.Tensor, torch.Tensor]:
    """Learner over engine 1/2, 1, 4."""
    return torch.tensor([0.2, 0.5, 0.8]).log(), torch.tensor([0.4, 0.5, 0.2]).log()


def told(**changes: float) -> Mismatch:
    figures = {
        "mismatch_kl": 0.0,
        "mean_abs": 0.0,
        "max_ratio": 1.0,
        "effective_sample_size": 1.0,
    }
    return Mismatch(**figures | changes)


def test_three_tokens_by_hand() -> None:
    metrics = mismatch(compare(*three()))
    # 1/2 - 1 + ln 2, 0 and 4 - 1 - 2 ln 2; ln 2, 0 and 2 ln 2; 5.5^2 / (3 * 17.25).
    assert metrics.mismatch_kl == pytest.approx((2.5 - math.log(2)) / 3, rel=1e-6)
    assert metrics.mean_abs == pytest.approx(math.log(2), rel=1e-6)
    assert metrics.max_ratio == pytest.approx(4, rel=1e-6)
    assert metrics.effective_sample_size == pytest.approx(30.25 / 51.75, rel=1e-6)


def test_a_token_that_the_learner_finds_rarer_counts_for_the_largest_ratio() -> None:
    part = compare(torch.tensor([0.1, 0.5]).log(), torch.tensor([0.4, 0.5]).log())
    assert mismatch(part).max_ratio == pytest.approx(4, rel=1e-6)


def test_equal_log_probabilities_do_not_differ() -> None:
    learner_T, _ = three()
    assert mismatch(compare(learner_T, learner_T)) == told()


def test_small_differences_are_not_lost_to_rounding() -> None:
    metrics = mismatch(compare(torch.full((4,), 1e-6), torch.zeros(4)))
    assert metrics.mismatch_kl == pytest.approx(0.5e-12, rel=1e-4)


def test_pieces_add_up_to_the_whole() -> None:
    learner_T, sampled_T = three()
    pieces = [compare(learner_T[at], sampled_T[at]) for at in (slice(0, 1), slice(1, 3))]
    together, at_once = pieces[0] + pieces[1], compare(learner_T, sampled_T)
    torch.testing.assert_close(together.sums, at_once.sums)
    torch.testing.assert_close(together.largest, at_once.largest)


def test_no_tokens_add_nothing() -> None:
    part, nothing = compare(*three()), compare(torch.zeros(0), torch.zeros(0))
    assert mismatch(part + nothing) == mismatch(nothing + part) == mismatch(part)


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="no token"):
        mismatch(compare(torch.zeros(0), torch.zeros(0)))


def test_a_graph_is_not_kept() -> None:
    part: MismatchPart = compare(torch.zeros(2, requires_grad=True), torch.zeros(2))
    assert not part.sums.requires_grad
    assert not part.largest.requires_grad


def test_within_the_threshold_there_is_no_alarm() -> None:
    assert alarm(told(mismatch_kl=0.005), 0.005) == ""


def test_the_alarm_names_both_figures() -> None:
    sentence = alarm(told(mismatch_kl=0.0123), 0.005)
    assert sentence.startswith("mismatch_kl 0.0123 between engine and learner is above 0.005")


@pytest.mark.parametrize("learner", [-math.inf, math.inf, math.nan, -400.0])
def test_what_is_not_a_figure_raises_the_alarm(learner: float) -> None:
    metrics = mismatch(compare(torch.tensor([learner]), torch.tensor([-1.0])))
    assert alarm(metrics, 0.005)
