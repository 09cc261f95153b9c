"""Examples as Parquet, the learner's own input: schema, writing and random reading."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cluster.errors import UserError
from cluster.names import ACTIONS
from configs.play import PromptConfig
from learners.sft_row import SftRow, SftSettings

VERSION: Final = "1"
"""Raised with every change of a column; a reader refuses what it was not written for."""

_MARK: Final = b"pickaxe.sft.version"
_SETTINGS: Final = b"pickaxe.sft.student"
_REPEATED: Final = ("episode", "player", "model", "provider", "system")
"""Text columns of few values: kept as a dictionary, on disk and in memory."""
_REMEDY: Final = "export it again with jobs.export --format sft"
_PNG: Final = b"\x89PNG\r\n\x1a\n"

SCHEMA: Final = pa.schema(
    {
        "episode": pa.string(),
        "turn": pa.int32(),
        "step": pa.int32(),
        "seed": pa.int64(),
        "sample": pa.int64(),
        "player": pa.string(),
        "model": pa.string(),
        "provider": pa.string(),
        "achievements": pa.int32(),
        "return": pa.float64(),
        "system": pa.string(),
        "text": pa.string(),
        "images": pa.list_(pa.binary()),
        "max_actions": pa.int32(),
        "actions": pa.list_(pa.string()),
        "completion": pa.string(),
        "token_ids": pa.list_(pa.int32()),
    }
)
"""One row per example."""

_FIELDS: Final = tuple("episode_return" if n == "return" else n for n in SCHEMA.names)


def to_batch(rows: Sequence[SftRow]) -> pa.RecordBatch:
    """Examples as columns."""
    columns = [
        pa.array([getattr(row, name) for row in rows], kind)
        for name, kind in zip(_FIELDS, SCHEMA.types, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


class ParquetWriter:
    """A file of examples under way; use as a context manager."""

    def __init__(self, path: Path, settings: SftSettings) -> None:
        told = {
            "model": settings.model,
            "prompt": settings.prompt.model_dump(mode="json"),
            "frame_size": settings.frame_size,
        }
        marks = {_MARK: VERSION.encode(), _SETTINGS: json.dumps(told).encode()}
        self._file = pq.ParquetWriter(
            path,
            SCHEMA.with_metadata(marks),
            compression="zstd",
            use_dictionary=list(_REPEATED),
            write_page_checksum=True,
        )

    def __enter__(self) -> "ParquetWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, rows: Sequence[SftRow]) -> None:
        """Add examples, as one row group."""
        batch = to_batch(rows).replace_schema_metadata(self._file.schema.metadata)
        self._file.write_batch(batch)


class BatchedRows:
    """Rows in Arrow batches: any one of them is had in some tens of microseconds."""

    def __init__(self, batches: Sequence[pa.RecordBatch]) -> None:
        self._batches = batches
        self._ends = list(accumulate(batch.num_rows for batch in batches))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def row(self, index: int) -> SftRow:
        """The example at `index`, from 0 to the length less 1."""
        place = bisect_right(self._ends, index)
        start = self._ends[place - 1] if place else 0
        values = [column[index - start].as_py() for column in self._batches[place].columns]
        fields = dict(zip(_FIELDS, values, strict=True))
        for name in ("images", "actions", "token_ids"):
            fields[name] = tuple(fields[name])
        return SftRow(**fields)

    def actions(self) -> Iterator[tuple[str, ...]]:
        for batch in self._batches:
            yield from map(tuple, batch.column("actions").to_pylist())


def read_parquet(path: Path) -> tuple[BatchedRows, SftSettings]:
    """Read a whole file into memory, every page checked.

    Raises:
        UserError: it is damaged, or no dataset of this version; names the column at fault.
    """
    try:
        with pq.ParquetFile(path) as file:
            settings = _check_schema(path, file.schema_arrow)
        with pq.ParquetFile(
            path, page_checksum_verification=True, read_dictionary=list(_REPEATED)
        ) as file:
            batches = [
                batch
                for index in range(file.num_row_groups)
                for batch in _read_group(path, file, index)
            ]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a whole Parquet file ({error}): {_REMEDY}") from None
    return BatchedRows(batches), settings


def _check_schema(path: Path, found: pa.Schema) -> SftSettings:
    marks = found.metadata or {}
    if _MARK not in marks:
        raise UserError(f"{path} is no dataset of Pickaxe's (its metadata has no mark): {_REMEDY}")
    if marks[_MARK].decode() != VERSION:
        raise UserError(
            f"{path} has dataset version {marks[_MARK].decode()}, this Pickaxe reads {VERSION}: "
            f"{_REMEDY}"
        )
    for name in dict.fromkeys((*SCHEMA.names, *found.names)):
        kinds = [_plain(s.field(name).type) if name in s.names else "none" for s in (found, SCHEMA)]
        if kinds[0] != kinds[1]:
            raise UserError(
                f"{path}: column {name!r} is {kinds[0]}, expected {kinds[1]}: {_REMEDY}"
            )
    try:
        told = json.loads(marks[_SETTINGS])
        return SftSettings(
            model=str(told["model"]),
            prompt=PromptConfig.model_validate(told["prompt"]),
            frame_size=told["frame_size"],
        )
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: its metadata does not say for whom it is: {_REMEDY}") from None


def _plain(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _read_group(path: Path, file: pq.ParquetFile, index: int) -> list[pa.RecordBatch]:
    """One row group; by itself it stays far below the 2 GiB that a column of Arrow's may hold."""
    try:
        table = file.read_row_group(index, columns=SCHEMA.names)
    except (OSError, ValueError, pa.ArrowException):
        for name in SCHEMA.names:
            try:
                file.read_row_group(index, columns=[name])
            except (OSError, ValueError, pa.ArrowException) as error:
                raise UserError(
                    f"{path}: column {name!r} is damaged in row group {index} ({error}): {_REMEDY}"
                ) from None
        raise
    for name in SCHEMA.names:
        wrong = _fault(name, table.column(name).combine_chunks())
        if wrong:
            raise UserError(f"{path}: column {name!r} {wrong} in row group {index}: {_REMEDY}")
    batches: list[pa.RecordBatch] = table.combine_chunks().to_batches()
    return batches


def _fault(name: str, column: Any) -> str:
    """What no example may have; '' if all is well."""
    values = column.flatten() if pa.types.is_list(column.type) else column
    if column.null_count or values.null_count:
        return "lacks values"
    if name == "actions" and not set(pc.unique(values).to_pylist()) <= set(ACTIONS):
        return "holds names that are no actions"
    if name == "images" and not pc.all(pc.starts_with(values, _PNG)).as_py() and len(values):
        return "holds pictures that are not PNG"
    return ""
