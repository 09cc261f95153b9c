"""The account of a training run's play: versions as served, what is held, what is written."""

import json

import pytest

from cluster.errors import RunError
from cluster.training.account import TrainingAccount
from cluster.training.setup import Books
from cluster.types import EpisodeSpec
from tests.training_play import judge, setup, told, told_of_error, without_decision


def started(**values: object) -> TrainingAccount:
    return TrainingAccount(setup(**values), judge)


def play(account: TrainingAccount, index: int, version: int = 1) -> None:
    """All of a group comes in, with different rewards."""
    for reward, spec in enumerate(account.missing(index)):
        account.came_in(told(spec, version, float(reward)), f"ref {spec.id}")


def batch(account: TrainingAccount, step: int = 0) -> list[EpisodeSpec]:
    """Its episodes."""
    return [spec for group in account.batch(step) or () for spec in group.specs]


def commit(account: TrainingAccount, step: int = 0) -> None:
    """One rank has trained on the whole batch."""
    assert account.committed(step, batch(account, step))


def spec(seed: int, sample: int) -> EpisodeSpec:
    return EpisodeSpec(seed=seed, sample=sample)


def test_the_first_version_is_one_and_each_step_makes_one_more() -> None:
    account = started(max_staleness=0)
    assert account.newest == 1
    assert account.admit(1) == {0: 1, 1: 1}
    play(account, 0)
    play(account, 1)
    commit(account)
    assert account.newest == 2
    assert account.admit(1) == {}
    assert account.admit(2) == {2: 2, 3: 2}


def test_a_group_is_written_once_it_is_whole() -> None:
    account = started()
    account.admit(1)
    first, second = account.missing(0)
    assert account.came_in(told(first, 1, 0.0), "a").part is None
    part = account.came_in(told(second, 1, 1.0), "b").part
    assert part is not None
    assert (part.name, part.specs, part.trajectories) == (
        "group-000000",
        (first, second),
        ("a", "b"),
    )
    assert account.trajectory(first) == "a"


def test_a_group_without_variance_is_written_and_let_go() -> None:
    account = started()
    account.admit(1)
    first, second = account.missing(0)
    account.came_in(told(first, 1, 1.0), "a")
    outcome = account.came_in(told(second, 1, 1.0), "b")
    assert outcome.unwanted == (first, second)
    assert outcome.part is not None
    assert outcome.part.trajectories == ("a", "b")
    assert account.missing(0) == (first, second)
    assert account.mishaps(0).drops == {"zero variance": 1}


def test_an_error_drops_its_group_with_the_cause_and_what_came_in_is_written() -> None:
    account = started()
    account.admit(1)
    first, second = account.missing(0)
    outcome = account.came_in(told_of_error(first, 1), "a")
    assert outcome.unwanted == (first, second)
    assert outcome.part is not None
    assert outcome.part.specs == (first,)
    assert account.mishaps(0).drops == {"an episode ended in error: no answer": 1}


def test_an_episode_without_a_decision_drops_its_group() -> None:
    account = started()
    account.admit(1)
    account.came_in(without_decision(account.missing(0)[0]), "a")
    assert account.mishaps(0).drops == {"an episode ended without a decision": 1}


def test_what_comes_in_too_late_is_let_go() -> None:
    account = started()
    account.admit(1)
    first, second = account.missing(0)
    account.failed(first, "its worker died")
    outcome = account.came_in(told(second, 1, 0.0), "b")
    assert (outcome.unwanted, outcome.part) == ((second,), None)
    assert account.missing(0) == (first, second)
    assert account.mishaps(0).num_discarded == 1


def test_too_many_groups_in_vain_end_the_run() -> None:
    account = started(max_consecutive_drops=2)
    account.admit(1)
    account.failed(account.missing(0)[0], "its worker died")
    with pytest.raises(RunError, match="its worker died: 2"):
        account.failed(account.missing(1)[0], "its worker died")


def test_what_is_lost_is_to_be_had_again_while_its_group_is_open() -> None:
    account = started()
    account.admit(1)
    play(account, 0)
    play(account, 1)
    first, second = account.batch(0) or ()
    assert account.lost([first.specs[0]]) == [first.specs[0]]
    assert account.lost([first.specs[0]]) == []
    assert account.batch(0) is None
    account.came_in(told(first.specs[0], 1, 0.0), "again")
    assert account.trajectory(first.specs[0]) == "again"
    commit(account)
    assert account.lost(second.specs) == []


def test_the_step_after_is_waited_for_and_no_other() -> None:
    account = started()
    account.admit(1)
    assert account.batch(1) is None
    with pytest.raises(ValueError, match="not due"):
        account.batch(2)
    with pytest.raises(ValueError, match="not due"):
        account.batch(-1)


def test_a_commit_lets_go_of_what_was_trained_alone() -> None:
    account = started()
    account.admit(1)
    for index in range(3):
        play(account, index)
    commit(account)
    assert not account.committed(0, ())
    assert account.open() == {2: 1, 3: 1}
    assert account.missing(2) == ()
    assert account.missing(0) == (spec(7, 0), spec(7, 1))
    assert account.counts()["trained"] == 4


@pytest.mark.parametrize(
    ("version", "oldest", "is_usable"),
    [(1, 1, True), (2, 1, True), (1, 2, False), (3, 1, False)],
)
def test_earlier_play_is_used_if_its_versions_fit(
    version: int, oldest: int, is_usable: bool
) -> None:
    account = started()
    account.admit(1)
    play(account, 0)
    play(account, 1)
    commit(account)
    assert account.is_usable(told(spec(9, 0), version, 1.0), oldest) is is_usable


def test_earlier_play_that_ended_in_error_is_not_used() -> None:
    assert not started().is_usable(told_of_error(spec(7, 0), 1), oldest=1)
    assert not started().is_usable(without_decision(spec(7, 0)), oldest=1)


def test_a_restored_account_plays_what_was_open_with_the_version_served_now() -> None:
    account = started()
    account.admit(1)
    play(account, 0)
    play(account, 2)
    text = json.dumps(account.snapshot(0, batch(account)))
    again = TrainingAccount(setup(), judge, json.loads(text))
    assert (again.step, again.newest) == (1, 2)
    assert again.open() == {1: 1, 3: 1}
    assert again.reopen(2) == {1: 2, 3: 2}
    assert again.admit(2) == {4: 2, 5: 2}


def test_before_the_first_step_there_is_a_snapshot_too() -> None:
    assert TrainingAccount(setup(), judge, started().snapshot(-1, ())).newest == 1


def test_books_of_a_run_that_loses_nothing() -> None:
    account = started()
    account.admit(1)
    first, _ = account.missing(3)
    account.failed(first, "its worker died")
    for index in range(3):
        play(account, index)
    commit(account)
    # 4 groups of 2: two trained, one whole, one dropped.
    assert account.books() == Books(
        num_steps=3, step=1, asked=8, trained=4, dropped=2, lost=0, doubled=0
    )


def test_an_episode_that_no_rank_was_given_is_lost() -> None:
    account = started()
    account.admit(1)
    play(account, 0)
    play(account, 1)
    account.committed(0, batch(account)[1:])
    books = account.books()
    assert (books.asked, books.trained, books.lost, books.doubled) == (8, 3, 1, 0)


def test_an_episode_that_two_ranks_were_given_is_doubled() -> None:
    account = started()
    account.admit(1)
    play(account, 0)
    play(account, 1)
    given = batch(account)
    account.committed(0, [*given, given[2]])
    books = account.books()
    assert (books.trained, books.lost, books.doubled) == (4, 0, 1)


def test_books_go_on_after_a_restart() -> None:
    account = started()
    account.admit(1)
    play(account, 0)
    play(account, 1)
    given = batch(account)
    text = json.dumps(account.snapshot(0, given))
    commit(account)
    again = TrainingAccount(setup(), judge, json.loads(text))
    assert again.books() == account.books()
    for index in (2, 3):
        play(again, index)
    # Two of the second batch, and two that the first start has trained: these are doubled, and of
    # the second batch two are missing.
    again.committed(1, [*batch(again, 1)[:2], *given[:2]])
    books = again.books()
    assert (books.trained, books.lost, books.doubled) == (6, 2, 2)


def test_a_snapshot_asked_again_after_the_commit_counts_nothing_twice() -> None:
    account = started()
    account.admit(1)
    play(account, 0)
    play(account, 1)
    given = batch(account)
    before = account.snapshot(0, given)
    account.committed(0, given)
    assert account.snapshot(0, ())["tally"] == before["tally"]
