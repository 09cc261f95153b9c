"""One side of a dataset, written as Parquet and as JSON lines, and what was in it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from cluster.names import ACTIONS
from learners.sft_jsonl import to_line
from learners.sft_parquet import BatchedRows, ParquetWriter
from learners.sft_row import SftRow, SftSettings

_GROUP_ROWS = 1024


@dataclass(slots=True)
class Side:
    """What training or validation holds."""

    num_rows: int = 0
    worlds: set[int] = field(default_factory=set)
    episodes: set[str] = field(default_factory=set)
    actions: Counter[str] = field(default_factory=Counter)
    num_sampled: int = 0
    """Rows that are trained on ids as sampled."""
    num_not_back: int = 0
    """Of these, rows whose text the student's tokenizer turns into other ids."""

    def add(self, row: SftRow, completion_ids: Callable[[str], list[int]]) -> None:
        self.num_rows += 1
        self.worlds.add(row.seed)
        self.episodes.add(row.episode)
        self.actions.update(row.actions)
        if row.token_ids:
            self.num_sampled += 1
            self.num_not_back += completion_ids(row.completion) != list(row.token_ids)

    def told(self) -> dict[str, Any]:
        """For the statistics file."""
        return {
            "rows": self.num_rows,
            "worlds": sorted(self.worlds),
            "episodes": len(self.episodes),
            "actions": {name: self.actions[name] for name in ACTIONS},
            "sampled_rows": self.num_sampled,
            "sampled_rows_that_do_not_tokenise_back": self.num_not_back,
        }


def write_side(
    rows: BatchedRows,
    order: Sequence[int],
    files: tuple[Path, Path],
    settings: SftSettings,
    completion_ids: Callable[[str], list[int]],
) -> Side:
    """Write examples.

    Args:
        rows: all that may be written.
        order: which of them, in the order of the files.
        files: the Parquet file's place and that of the JSON lines.
        settings: for whom the rows were rendered.
        completion_ids: the student's ids of an answer; asked for sampled rows only.

    Raises:
        OSError: a file can't be written.
    """
    side = Side()
    numbers = iter(order)
    with ParquetWriter(files[0], settings) as parquet, files[1].open("w", encoding="utf-8") as text:
        for group in _groups(rows, numbers):
            parquet.write(group)
            text.writelines(map(to_line, group))
            for row in group:
                side.add(row, completion_ids)
    return side


def _groups(rows: BatchedRows, numbers: Iterator[int]) -> Iterator[list[SftRow]]:
    while group := [rows.row(number) for number in islice(numbers, _GROUP_ROWS)]:
        yield group
