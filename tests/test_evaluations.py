"""The account of evaluations: each rule by an example."""

from dataclasses import replace

import pytest

from cluster.training.evaluations import Evaluations
from cluster.types import Ending, EpisodeSpec, Summary
from tests.builders import trajectory


def summary(spec: EpisodeSpec, **facts: object) -> Summary:
    return replace(trajectory(spec=spec).summary(), **facts)


def started(served: int = 1) -> tuple[Evaluations, tuple[EpisodeSpec, ...]]:
    evaluations = Evaluations((7, 8))
    evaluations.ask(0, 1)
    return evaluations, evaluations.start(served)


def test_every_world_is_played_once_with_the_version_as_its_sample() -> None:
    evaluations, specs = started()
    assert specs == (EpisodeSpec(seed=7, sample=1), EpisodeSpec(seed=8, sample=1))
    assert specs[0] in evaluations
    assert EpisodeSpec(seed=7, sample=2) not in evaluations


def test_an_evaluation_waits_until_its_version_is_served() -> None:
    evaluations, specs = started(served=0)
    assert specs == ()
    assert evaluations.asked == (1,)


def test_one_is_under_way_at_a_time_the_oldest_first() -> None:
    evaluations, specs = started()
    evaluations.ask(2, 3)
    evaluations.ask(1, 2)
    assert evaluations.start(3) == ()
    for spec in specs:
        evaluations.came_in(summary(spec), None)
    assert {spec.sample for spec in evaluations.start(3)} == {2}


def test_it_is_done_and_written_when_the_last_world_is_played() -> None:
    evaluations, specs = started()
    assert evaluations.came_in(summary(specs[0], total_reward=1.0), "a") is None
    assert evaluations.done == ()
    part = evaluations.came_in(
        summary(specs[1], total_reward=2.0, achievements=("collect_wood",)), "b"
    )
    assert part is not None
    assert (part.name, part.specs, part.trajectories) == ("evaluation-000001", specs, ("a", "b"))
    (done,) = evaluations.done
    assert (done.step, done.version) == (0, 1)
    assert (done.mean_return, done.mean_achievements) == (1.5, 0.5)
    assert [world.achievements for world in done.worlds] == [(), ("collect_wood",)]


def test_a_play_that_ended_in_error_or_never_says_nothing_of_the_policy() -> None:
    evaluations = Evaluations((7, 8, 9))
    evaluations.ask(0, 1)
    first, second, third = evaluations.start(1)
    evaluations.came_in(summary(first, ending=Ending.ERROR, error="no answer"), None)
    evaluations.failed(second, "its worker died")
    evaluations.came_in(summary(third, total_reward=3.0), None)
    (done,) = evaluations.done
    assert [world.error for world in done.worlds] == ["no answer", "its worker died", ""]
    assert done.mean_return == 3.0


def test_where_nothing_could_be_played_there_is_no_mean() -> None:
    evaluations, specs = started()
    for spec in specs:
        evaluations.failed(spec, "its worker died")
    assert evaluations.done[0].mean_return is None


def test_asked_again_nothing_happens() -> None:
    evaluations, specs = started()
    evaluations.ask(0, 1)
    for spec in specs:
        evaluations.came_in(summary(spec), None)
    evaluations.ask(0, 1)
    assert evaluations.asked == ()
    assert len(evaluations.done) == 1


def test_what_was_not_done_goes_on_after_a_restart() -> None:
    evaluations, _ = started()
    evaluations.ask(1, 2)
    again = Evaluations((7, 8), evaluations.snapshot())
    assert again.asked == ()
    again.go_on()
    assert again.asked == (1, 2)


def test_a_world_is_played_once() -> None:
    evaluations, specs = started()
    evaluations.came_in(summary(specs[0]), None)
    with pytest.raises(ValueError, match="came in before"):
        evaluations.came_in(summary(specs[0]), None)


def test_without_worlds_there_is_nothing_to_evaluate() -> None:
    with pytest.raises(ValueError, match="no seeds"):
        Evaluations(()).ask(0, 1)
