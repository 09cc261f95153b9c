"""Examples on their way: written in one order, read in another, never all in memory."""

import mmap
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from learners.sft_parquet import SCHEMA, BatchedRows, to_batch
from learners.sft_row import SftRow

_BATCH_ROWS = 1024


class Spool:
    """A nameless temporary file, gone with the process that opened it; a context manager.

    Args:
        folder: whose disk it takes room on.

    Raises:
        OSError: from any method, where the disk can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._writer: Any = pa.ipc.new_file(self._file, SCHEMA)
        self._waiting: list[SftRow] = []

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: SftRow) -> None:
        """Write behind the rows before; rows are numbered from 0."""
        self._waiting.append(row)
        if len(self._waiting) == _BATCH_ROWS:
            self._flush()

    def read(self) -> BatchedRows:
        """All rows, off the disk as they are asked for. Nothing can be added after this."""
        self._flush()
        self._writer.close()
        self._file.flush()
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        reader: Any = pa.ipc.open_file(pa.py_buffer(mapped))
        return BatchedRows([reader.get_batch(i) for i in range(reader.num_record_batches)])

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_batch(to_batch(self._waiting))
            self._waiting = []
