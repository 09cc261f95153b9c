"""What a trajectory weighs on its way between processes."""

import os
import pickle

import pytest

from cluster.credit import credit_of
from cluster.types import Completion, Trajectory
from jobs.benchmarks.episodes import episodes
from tests.builders import START, trajectory, turn


def with_frames(num_turns: int) -> Trajectory:
    """Frames of 1,000 bytes that nobody can compress; ids and texts as long as real ones."""
    turns = tuple(
        turn(
            index,
            frame=os.urandom(1000),
            system="You play Crafter. " * 50,
            completion=Completion(text="go", prompt_ids=tuple(range(1000, 1400)), token_ids=(1, 2)),
        )
        for index in range(num_turns)
    )
    return trajectory(turns=turns)


def test_it_arrives_as_it_left() -> None:
    whole = trajectory(turns=(turn(0, frame=b"png"), turn(1)), achievements=("collect_wood",))
    arrived = pickle.loads(pickle.dumps(whole))
    assert arrived == whole
    assert (arrived.turns[0].frame, arrived.turns[1].frame) == (b"png", None)
    assert arrived.turns[1].observation == START


@pytest.mark.parametrize("size", [72, 288])
def test_the_bytes_that_the_ledger_counts_are_about_those(size: int) -> None:
    (whole,) = episodes([24], size)
    credit = credit_of(whole)
    assert credit is not None
    assert 1.0 < credit.num_bytes / len(pickle.dumps(whole)) < 1.25


def test_it_weighs_little_more_than_its_frames() -> None:
    # Without compression: 1,400 bytes and more a turn beside the frame.
    assert len(pickle.dumps(with_frames(50))) < 1.2 * 50 * 1000
