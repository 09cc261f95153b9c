"""How far a run of RL is: which evaluation is best, and when it is over."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from learners.rl.progress import Evaluation, RlProgress, version_after
from tests.rl_samples import rl_settings

NOWHERE = Path("never written")


def progress(*told: tuple[int, float | None], step: int = 0) -> RlProgress:
    evaluations = tuple(Evaluation(step=at, mean_return=value) for at, value in told)
    return RlProgress(step=step, evaluations=evaluations)


def test_the_highest_return_is_best_and_the_earliest_step_of_equals() -> None:
    best = progress((4, 2.0), (0, -1.0), (2, 2.0), (6, 1.5)).best
    assert best is not None
    assert best.step == 2


def test_returns_may_all_be_negative() -> None:
    best = progress((0, -3.0), (2, -1.0)).best
    assert best is not None
    assert best.step == 2


def test_an_evaluation_without_plays_is_not_best() -> None:
    assert progress((0, None)).best is None


def test_a_run_is_over_after_its_last_step() -> None:
    config = rl_settings(NOWHERE, num_steps=3)
    assert [progress(step=step).is_over(config) for step in (2, 3)] == [False, True]


@pytest.mark.parametrize(
    ("told", "is_over"),
    [
        ([(0, 1.0), (2, 2.0), (4, 1.0)], False),
        ([(0, 1.0), (2, 2.0), (4, 1.0), (6, 2.0)], True),
        ([(2, 1.0), (4, 1.0), (0, 3.0)], True),
        ([(0, None), (2, None), (4, None)], False),
    ],
)
def test_a_run_is_over_once_returns_have_long_not_risen(
    told: list[tuple[int, float | None]], is_over: bool
) -> None:
    config = rl_settings(NOWHERE, num_steps=100, evaluation={"patience": 2})
    assert progress(*told, step=6).is_over(config) == is_over


def test_without_patience_it_goes_on() -> None:
    config = rl_settings(NOWHERE, num_steps=100)
    assert not progress((0, 9.0), (2, 1.0), (4, 1.0), step=6).is_over(config)


def test_what_is_written_is_read_again() -> None:
    told = progress((0, 1.0), (2, None), step=2)
    assert RlProgress.of(json.loads(json.dumps(asdict(told)))) == told


def test_versions_count_from_one() -> None:
    assert [version_after(num_steps) for num_steps in (0, 5)] == [1, 6]
