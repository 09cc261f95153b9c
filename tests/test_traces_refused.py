"""Torn, foreign and doubled trace files: named and refused, the rest read."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.errors import TraceError
from cluster.traces import read_summaries, read_trajectories, write_part
from tests.builders import trajectory


def two_parts(folder: Path) -> None:
    write_part(folder, [trajectory(0)], "bad")
    write_part(folder, [trajectory(1)], "good")


def refusal(folder: Path) -> str:
    """The one refusal, the good part having been read in spite of it."""
    scan = read_summaries(folder)
    assert [summary.spec.seed for summary in scan.summaries] == [1]
    told: list[TraceError] = []
    assert list(read_trajectories(folder, on_refused=told.append)) == [trajectory(1)]
    assert [str(error) for error in told] == [str(error) for error in scan.refused]
    return str(*told)


@pytest.mark.parametrize("kind", ["turns", "episodes"])
@pytest.mark.parametrize("length", [0, 3, 0.5, -1])
def test_a_truncated_file_is_named_and_the_rest_is_read(
    tmp_path: Path, kind: str, length: float
) -> None:
    two_parts(tmp_path)
    path = tmp_path / kind / "part-bad.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: int(length * len(data)) if length == 0.5 else int(length)])
    assert refusal(tmp_path).startswith(f"{path}: not a whole Parquet file: ")


def test_a_parquet_file_of_someone_else_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    two_parts(tmp_path)
    path = tmp_path / "episodes" / "part-bad.parquet"
    pq.write_table(pa.table({"episode": ["seed_0000-sample_00"]}), path)
    assert refusal(tmp_path) == (
        f"{path}: not written by Pickaxe (no mark in the Parquet metadata)"
    )


def test_a_file_of_another_trace_version_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    two_parts(tmp_path)
    path = tmp_path / "turns" / "part-bad.parquet"
    table = pq.read_table(path)
    metadata = {**table.schema.metadata, b"pickaxe.trace.version": b"99"}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    assert refusal(tmp_path) == f"{path}: trace version 99; this Pickaxe reads version 1"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda t: t.drop_columns(["rewards"]),
            "'rewards' is none, expected list",
        ),
        (
            lambda t: t.append_column("extra", pa.array(["", ""])),
            "'extra' is string, expected",
        ),
        (
            lambda t: t.set_column(1, "seed", t["seed"].cast(pa.int32())),
            "'seed' is int32, expected int64",
        ),
    ],
)
def test_wrong_columns_are_named_and_the_rest_is_read(
    tmp_path: Path, change: Any, reason: str
) -> None:
    two_parts(tmp_path)
    path = tmp_path / "turns" / "part-bad.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    assert refusal(tmp_path).startswith(f"{path}: column {reason}")


def test_the_wrong_kind_of_file_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    two_parts(tmp_path)
    path = tmp_path / "episodes" / "part-bad.parquet"
    path.write_bytes((tmp_path / "turns" / "part-bad.parquet").read_bytes())
    assert refusal(tmp_path) == f"{path}: holds turns, not episodes"


def test_missing_turns_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    two_parts(tmp_path)
    turns_path = tmp_path / "turns" / "part-bad.parquet"
    turns_path.unlink()
    assert refusal(tmp_path).endswith(f"its turns are missing, there is no {turns_path}")


def test_turns_of_another_length_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    two_parts(tmp_path)
    write_part(tmp_path / "other", [trajectory(0, num_turns=3)], "bad")
    path = tmp_path / "turns" / "part-bad.parquet"
    (tmp_path / "other" / "turns" / "part-bad.parquet").replace(path)
    assert "episodes of [3] turns" in refusal(tmp_path)


def damage(path: Path) -> None:
    """Flip one bit in the pages of the first column, behind an intact footer."""
    data = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    data[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_flipped_bit_costs_its_episode_alone(tmp_path: Path) -> None:
    write_part(tmp_path, [trajectory(0), trajectory(1)], "p")
    damage(tmp_path / "turns" / "part-p.parquet")
    told: list[TraceError] = []
    assert list(read_trajectories(tmp_path, on_refused=told.append)) == [trajectory(1)]
    assert "episode seed_0000-sample_00 can't be read" in str(*told)


def test_without_a_listener_a_bad_file_raises(tmp_path: Path) -> None:
    write_part(tmp_path, [trajectory(0)], "p")
    damage(tmp_path / "turns" / "part-p.parquet")
    with pytest.raises(TraceError, match=r"part-p\.parquet"):
        list(read_trajectories(tmp_path))


def test_an_episode_committed_twice_is_refused_naming_both_files(tmp_path: Path) -> None:
    write_part(tmp_path, [trajectory(4)], "a")
    write_part(tmp_path, [trajectory(4)], "b")
    both = r"seed_0004-sample_00 .*part-a\.parquet and .*part-b\.parquet"
    with pytest.raises(TraceError, match=both):
        read_summaries(tmp_path)
    with pytest.raises(TraceError, match=both):
        list(read_trajectories(tmp_path))
