"""Play of policies whose checkpoints are gone is kept, and is nobody else's."""

from dataclasses import replace
from pathlib import Path

from cluster.abandoned import set_aside
from cluster.traces import read_summaries, read_trajectories, write_part
from cluster.types import Completion, Trajectory
from tests.builders import trajectory, turn


def by(versions: tuple[int | None, ...], seed: int) -> Trajectory:
    """A turn by each of these versions."""
    said = [Completion(text="", version=version) for version in versions]
    turns = tuple(turn(index, completion=one) for index, one in enumerate(said))
    return replace(trajectory(seed=seed), turns=turns)


def test_parts_with_a_turn_by_a_later_version_are_moved(tmp_path: Path) -> None:
    write_part(tmp_path, [by((1, 2), seed=0)], "earlier")
    write_part(tmp_path, [by((2, 2), seed=1), by((2, 3), seed=2)], "later")
    assert set_aside(tmp_path, 2) == ["part-later.parquet"]
    assert [one.spec.seed for one in read_summaries(tmp_path).summaries] == [0]
    kept = list(read_trajectories(tmp_path / "abandoned/1"))
    assert kept == [by((2, 2), seed=1), by((2, 3), seed=2)]


def test_what_is_lost_again_under_the_same_name_replaces_nothing(tmp_path: Path) -> None:
    for version in (3, 4):
        write_part(tmp_path, [by((version,), seed=0)], "group-000001")
        assert set_aside(tmp_path, 2) == ["part-group-000001.parquet"]
    kept = [list(read_trajectories(tmp_path / "abandoned" / number)) for number in "12"]
    assert kept == [[by((3,), seed=0)], [by((4,), seed=0)]]


def test_nothing_is_moved_where_all_is_known(tmp_path: Path) -> None:
    write_part(tmp_path, [by((1, 2), seed=0)], "a")
    write_part(tmp_path, [by((None,), seed=1)], "b")
    assert set_aside(tmp_path, 2) == []
    assert not (tmp_path / "abandoned").exists()


def test_a_part_that_cannot_be_read_is_left_where_it_is(tmp_path: Path) -> None:
    write_part(tmp_path, [by((9,), seed=0)], "torn")
    path = tmp_path / "turns/part-torn.parquet"
    path.write_bytes(path.read_bytes()[:100])
    assert set_aside(tmp_path, 2) == []
    assert path.exists()
