"""The batch of a step, dealt out to ranks."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.errors import RunError
from cluster.training.account import TrainingAccount
from cluster.training.dealing import Dealing, Share
from tests.training_play import judge, setup, told


class Run:
    """An account with a batch, of which each play took another number of turns."""

    def __init__(self) -> None:
        self.account = TrainingAccount(setup(), judge)
        self.mishaps: dict[str, Any] = {"num_replayed": 0}
        self.dealing = Dealing(self.account, lambda: self.mishaps)
        self.account.admit(1)

    def play(self, index: int) -> "Run":
        for reward, spec in enumerate(self.account.missing(index)):
            played = told(spec, 1, float(reward), num_turns=1 + index + reward)
            self.account.came_in(played, f"ref {spec.id}")
        return self

    def share(self, rank: int, num_ranks: int = 2) -> Share:
        share = self.dealing.share(0, rank, num_ranks)
        assert share is not None
        return share


def ready() -> Run:
    return Run().play(0).play(1)


def test_shares_are_disjoint_and_together_the_batch() -> None:
    run = ready()
    pieces = [piece for rank in range(2) for piece in run.share(rank).mine]
    assert sorted((piece.group, piece.number) for piece in pieces) == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    for piece in pieces:
        assert piece.trajectory == f"ref {piece.spec.id}"
        credit = run.share(0).groups[piece.group][piece.number]
        assert len(credit.rewards_T) == 1 + piece.group + piece.number


def test_shares_are_dealt_by_turns() -> None:
    run = ready()
    # 1 2 | 2 3 turns: 3 1 and 2 2.
    turns = [[1 + p.group + p.number for p in run.share(rank).mine] for rank in range(2)]
    assert turns == [[3, 1], [2, 2]]


def test_every_rank_is_told_the_whole_batch() -> None:
    run = ready()
    first, second = run.share(0), run.share(1)
    assert first.groups == second.groups
    assert first.stats == second.stats
    assert first.step == 0


def test_a_rank_that_asks_again_gets_the_same() -> None:
    run = ready()
    before = run.share(0)
    run.play(2)
    run.mishaps = {"num_replayed": 5}
    assert run.share(0) == before


def test_until_there_is_a_batch_nobody_gets_anything() -> None:
    assert Run().play(0).dealing.share(0, 0, 1) is None


def test_a_batch_says_what_it_is_made_of() -> None:
    stats = ready().share(0).stats
    assert stats["num_episodes"] == 4
    assert stats["endings"] == {"turn_limit": 4}
    assert stats["success"]["collect_wood"] == 0.0
    assert stats["num_replayed"] == 0


def test_bad_calls_are_a_share_of_all_decisions_of_the_batch() -> None:
    run = Run().play(0)
    for reward, spec in enumerate(run.account.missing(1)):
        played = told(spec, 1, float(reward), num_turns=3)
        summary = replace(played.summary, invalid_calls={"no_call": 1, "bad_json": reward})
        run.account.came_in(replace(played, summary=summary), f"ref {spec.id}")
    # 1 and 2 turns in the first group, 3 and 3 in the other; of these 1 and 2 are bad.
    assert run.share(0).stats["bad_call_share"] == 3 / 9


def test_a_step_can_be_committed_once_every_rank_was_dealt_its_share() -> None:
    run = ready()
    run.share(0)
    with pytest.raises(RunError, match="step 0"):
        run.dealing.check(0)
    run.share(1)
    run.dealing.check(0)
    run.account.committed(0, run.dealing.given)
    run.dealing.committed()
    run.dealing.check(0)


def test_a_batch_that_nobody_was_dealt_cannot_be_committed() -> None:
    with pytest.raises(RunError, match="earlier start"):
        ready().dealing.check(0)


def test_what_changed_after_it_was_dealt_must_be_dealt_again() -> None:
    run = ready()
    first = run.share(0)
    run.share(1)
    (again,) = run.account.lost([first.mine[0].spec])
    assert not run.dealing.is_dealt(0)
    run.account.came_in(told(again, 1, 9.0), "again")
    assert not run.dealing.is_dealt(0)
    run.share(0)
    run.share(1)
    assert run.dealing.is_dealt(0)


def test_the_same_play_read_back_changes_nothing() -> None:
    run = ready()
    piece = run.share(0).mine[0]
    run.share(1)
    (again,) = run.account.lost([piece.spec])
    turns = 1 + piece.group + piece.number
    run.account.came_in(told(again, 1, float(piece.number), turns), "again")
    assert run.dealing.is_dealt(0)
    assert run.share(0).mine[0].trajectory == "again"


def test_another_play_of_the_same_credit_is_not_the_same() -> None:
    run = ready()
    piece = run.share(0).mine[0]
    run.share(1)
    (again,) = run.account.lost([piece.spec])
    turns = 1 + piece.group + piece.number
    alike = told(again, 1, float(piece.number), turns)
    other = replace(alike, summary=replace(alike.summary, duration_s=1.25))
    run.account.came_in(other, "other")
    assert not run.dealing.is_dealt(0)


def test_what_ranks_were_given_is_counted_rank_by_rank() -> None:
    run = ready()
    assert run.dealing.given == ()
    first = [piece.spec for piece in run.share(0).mine]
    assert list(run.dealing.given) == first
    run.share(0)
    assert list(run.dealing.given) == first
    assert len(set(run.dealing.given) | {piece.spec for piece in run.share(1).mine}) == 4
    assert len(run.dealing.given) == 4


def test_with_another_number_of_ranks_all_must_ask_again() -> None:
    run = ready()
    run.share(0, 1)
    assert run.dealing.is_dealt(0)
    run.share(0, 2)
    assert not run.dealing.is_dealt(0)


def test_only_what_was_dealt_can_be_lost() -> None:
    run = ready()
    spec = run.account.missing(2)[0]
    piece_id = run.account.batch(0)[0].specs[0].id  # type: ignore[index]
    assert run.dealing.dealt([piece_id]) == []
    run.share(0)
    assert [one.id for one in run.dealing.dealt([piece_id, spec.id])] == [piece_id]


def test_the_traces_of_a_batch_lie_in_the_parts_of_its_groups() -> None:
    run = ready()
    assert run.dealing.parts() == set()
    run.share(0)
    assert run.dealing.parts() == {"group-000000", "group-000001"}
