"""Traces on disk: Parquet part files, committed whole or not at all.

    traces/turns/part-NAME.parquet       one row per decision, one row group per episode
    traces/episodes/part-NAME.parquet    one row per episode; its rename is the commit

Any Parquet reader opens them as they are. Every page carries a checksum.
"""

import os
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.errors import TraceError
from cluster.files import flush
from cluster.trace_rows import episodes_table, to_summary, to_trajectory, to_turn, turns_table
from cluster.trace_schema import EPISODES, TURNS, check_schema
from cluster.types import Summary, Trajectory

UNREADABLE: Final = (OSError, ValueError, pa.ArrowException)
"""What pyarrow raises on bytes that are no (whole) Parquet file."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a folder of traces holds."""

    summaries: tuple[Summary, ...]
    """Of the committed episodes, by seed and sample."""
    refused: tuple[TraceError, ...]
    """One per file that can't be used: its path and the reason."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where an episode lies."""

    summary: Summary
    row: dict[str, Any]
    """Of the episodes part."""
    episodes: Path
    turns: Path
    row_group: int
    """-1 for an episode without turns."""


def write_part(folder: Path, trajectories: Sequence[Trajectory], name: str | None = None) -> str:
    """Commit whole episodes as one part; returns its file name.

    Writing the same trajectories again under the same `name` replaces the part by itself, so a
    writer that can't know whether it was cut off before or after the commit may just repeat.

    Raises:
        OSError: the folder can't be written; nothing was committed.
        ValueError: no trajectories, one of them twice, or a value that the columns can't hold.
    """
    ids = [trajectory.spec.id for trajectory in trajectories]
    if not ids or len(set(ids)) < len(ids):
        raise ValueError(f"a part needs one or more different episodes, got {ids}")
    part = f"part-{name or uuid.uuid4().hex}.parquet"
    turns, episodes = folder / "turns" / part, folder / "episodes" / part
    temporary = [_beside(turns), _beside(episodes)]
    try:
        played = (turns_table(trajectory) for trajectory in trajectories if trajectory.turns)
        _write(temporary[0], TURNS, played)
        _write(temporary[1], EPISODES, [episodes_table(trajectories, part)])
        episodes.unlink(missing_ok=True)  # never beside the turns of other plays
        _commit(temporary[0], turns)
        _commit(temporary[1], episodes)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)
    return part


def read_summaries(folder: Path) -> Scan:
    """Read what is committed; a folder that does not exist yet holds nothing.

    Raises:
        TraceError: an episode was committed twice; the message names both files.
    """
    refused: list[TraceError] = []
    stored = _index(folder, refused.append)
    return Scan(tuple(where.summary for where in stored), tuple(refused))


def _raise(error: TraceError) -> None:
    raise error


def read_trajectories(
    folder: Path,
    ids: Collection[str] | None = None,
    on_refused: Callable[[TraceError], None] = _raise,
) -> Iterator[Trajectory]:
    """Read episodes back, by seed and sample, one at a time in memory.

    Args:
        folder: the run's `traces`.
        ids: only these episodes; those that are not committed are left out.
        on_refused: told of each file, or episode in it, that can't be read, with the reason; the
            rest is read. Raises by default.

    Raises:
        TraceError: an episode was committed twice; the message names both files.
    """
    for where in _index(folder, on_refused):
        if ids is not None and where.summary.spec.id not in ids:
            continue
        try:
            trajectory = _read(where)
        except TraceError as error:
            on_refused(error)
        else:
            yield trajectory


def read_part(folder: Path, name: str) -> list[Trajectory]:
    """The episodes of the part that was written as `name`; none where there is no such part.

    Raises:
        TraceError: it can't be read.
    """
    path = folder / "episodes" / f"part-{name}.parquet"
    return [_read(where) for where in _part(path)] if path.exists() else []


def sweep(folder: Path) -> list[Path]:
    """Remove what a killed writer left behind; returns what was removed.

    These are temporary files, and turns that no file of episodes committed. Only while nobody
    writes to the folder: a part on its way would look the same.
    """
    turns, episodes = folder / "turns", folder / "episodes"
    leftovers = [*turns.glob(".part-*.tmp"), *episodes.glob(".part-*.tmp")]
    leftovers += [p for p in turns.glob("part-*.parquet") if not (episodes / p.name).exists()]
    for path in leftovers:
        path.unlink()
    return sorted(leftovers)


def _beside(path: Path) -> Path:
    """A name that no reader's `*.parquet` matches."""
    return path.with_name(f".{path.name}.tmp")


def _write(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=table.num_rows)
    flush(path)


def _commit(temporary: Path, path: Path) -> None:
    os.replace(temporary, path)
    flush(path.parent)


def _index(folder: Path, on_refused: Callable[[TraceError], None]) -> list[_Stored]:
    stored: dict[str, _Stored] = {}
    for path in sorted((folder / "episodes").glob("*.parquet")):
        try:
            found = _part(path)
        except TraceError as error:
            on_refused(error)
            continue
        for where in found:
            key = where.summary.spec.id
            if key in stored:
                raise TraceError(
                    f"episode {key} was committed twice, in {stored[key].episodes} and {path}: "
                    "remove one of the two parts"
                )
            stored[key] = where
    return sorted(stored.values(), key=lambda where: (where.row["seed"], where.row["sample"]))


def _part(path: Path) -> list[_Stored]:
    """The episodes of one part, checked against the outside of its turns."""
    with _open(path, EPISODES) as file:
        try:
            rows: list[dict[str, Any]] = file.read().to_pylist()
            summaries = [to_summary(row) for row in rows]
        except UNREADABLE as error:
            raise TraceError(f"{path}: can't be read: {error}") from error
    turns = path.parent.parent / "turns" / path.name
    if not turns.exists():
        raise TraceError(f"{path}: its turns are missing, there is no {turns}")
    with _open(turns, TURNS) as file:
        lengths = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    wanted = [summary.num_turns for summary in summaries if summary.num_turns]
    if lengths != wanted:
        raise TraceError(f"{turns}: episodes of {lengths} turns, but {path} tells of {wanted}")
    stored, row_group = [], 0
    for row, summary in zip(rows, summaries, strict=True):
        group = row_group if summary.num_turns else -1
        stored.append(_Stored(summary, row, path, turns, group))
        row_group += summary.num_turns > 0
    return stored


def _open(path: Path, schema: pa.Schema) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except UNREADABLE as error:
        raise TraceError(f"{path}: not a whole Parquet file: {error}") from error
    try:
        check_schema(file.schema_arrow, schema)
    except TraceError as error:
        file.close()
        raise TraceError(f"{path}: {error}") from None
    return file


def _read(where: _Stored) -> Trajectory:
    """Raises TraceError for bytes that are damaged behind an intact footer."""
    key = where.summary.spec.id
    rows: list[dict[str, Any]] = []
    try:
        if where.row_group >= 0:
            with _open(where.turns, TURNS) as file:
                rows = file.read_row_group(where.row_group).to_pylist()
        strangers = {row["episode"] for row in rows} - {key}
        if strangers:
            raise ValueError(f"its rows belong to {', '.join(sorted(map(str, strangers)))}")
        return to_trajectory(where.row, [to_turn(row) for row in rows])
    except UNREADABLE as error:
        raise TraceError(f"{where.turns}: episode {key} can't be read: {error}") from error
