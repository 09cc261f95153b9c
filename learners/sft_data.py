"""A dataset of examples, as the learner reads it."""

import operator
from pathlib import Path

from cluster.errors import UserError
from learners.sft_jsonl import JsonlRows
from learners.sft_parquet import BatchedRows, read_parquet
from learners.sft_row import SftRow, SftSettings

__all__ = ["SftDataset", "SftRow", "SftSettings", "read_sft"]


class SftDataset:
    """Examples by number, each made when it is asked for."""

    def __init__(self, rows: BatchedRows | JsonlRows, settings: SftSettings | None) -> None:
        self._rows = rows
        self._settings = settings

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> SftRow:
        """The example at `index`; a negative one counts from the end.

        Raises:
            IndexError: there are not so many.
        """
        place = operator.index(index)
        place += len(self) if place < 0 else 0
        if not 0 <= place < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        return self._rows.row(place)

    @property
    def settings(self) -> SftSettings | None:
        """For whom it was rendered; None from JSON lines, which do not tell."""
        return self._settings

    def actions(self) -> list[tuple[str, ...]]:
        """Every example's call, without reading its pictures."""
        return list(self._rows.actions())


def read_sft(path: Path) -> SftDataset:
    """Open a dataset, .parquet or .jsonl, once all of it has been checked.

    Parquet is held in memory, JSON lines stay on disk. The same examples come out of both, but
    from JSON lines without sampled ids and with each call in its canonical form.

    Raises:
        UserError: no such file, or it is damaged or foreign; names the column or the line.
    """
    if not path.is_file():
        raise UserError(f"no file {path}: give a .parquet or .jsonl of jobs.export --format sft")
    if path.suffix == ".jsonl":
        return SftDataset(JsonlRows(path), None)
    if path.suffix == ".parquet":
        return SftDataset(*read_parquet(path))
    raise UserError(f"{path} is no dataset: give a .parquet or .jsonl of jobs.export --format sft")
