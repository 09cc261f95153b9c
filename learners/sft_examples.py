"""A dataset's rows as examples for one model, and whether they fit.

Axes: N rows of the dataset.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.errors import UserError
from learners.example import Example, answered
from learners.language import Language
from learners.sft_data import SftDataset, SftRow, read_sft

_SUFFIXES: Final = (".parquet", ".jsonl")


@dataclass(frozen=True, slots=True)
class Extent:
    """What each row of a dataset takes."""

    lengths_N: npt.NDArray[np.int64]
    """Tokens, image tokens and answer included."""
    labels_N: npt.NDArray[np.int64]
    """Tokens of the answer."""
    images_N: npt.NDArray[np.int64]
    """Pictures."""


def find_data(folder: Path, name: str) -> Path | None:
    """A dataset's file `name` ("train" or "val"), Parquet before JSON lines; None for no file."""
    files = [folder / f"{name}{suffix}" for suffix in _SUFFIXES]
    return next((path for path in files if path.is_file()), None)


def open_data(folder: Path, name: str) -> SftDataset:
    """A dataset's part `name`.

    Raises:
        UserError: it is absent, empty, or damaged.
    """
    path = find_data(folder, name)
    if path is None:
        raise UserError(f"data {folder} has no {name}.parquet or {name}.jsonl of jobs.export")
    rows = read_sft(path)
    if not len(rows):
        raise UserError(f"{path} has no examples: export it again with rules that leave some")
    return rows


def answer_ids(row: SftRow, language: Language) -> list[int]:
    """What the model is to say: the ids as it once sampled them, else the text's."""
    return list(row.token_ids) or language.completion_ids(row.completion)


def example_of(row: SftRow, language: Language) -> Example:
    prompt = language.prompt_ids(row.system, row.text, row.images, row.max_actions)
    return answered(prompt, answer_ids(row, language), row.images)


def measure_rows(rows: SftDataset, language: Language) -> Extent:
    """What every row takes, from its texts and the sizes of its pictures.

    Raises:
        UserError: a row has sampled ids that are not this model's.
    """
    sizes = np.zeros((len(rows), 3), np.int64)
    for index in range(len(rows)):
        row = rows[index]
        if row.token_ids and language.text_of(row.token_ids) != row.completion:
            raise UserError(
                f"example {index} ({row.episode}, decision {row.turn}) holds ids that another "
                "model sampled: export the data again with student.model this model"
            )
        prompt = language.prompt_ids(row.system, row.text, row.images, row.max_actions)
        num_labels = len(answer_ids(row, language))
        sizes[index] = len(prompt) + num_labels, num_labels, len(row.images)
    return Extent(sizes[:, 0], sizes[:, 1], sizes[:, 2])


def check_fit(extent: Extent, max_sequence_length: int, max_images: int) -> None:
    """Refuse a dataset of which a part would have to be cut or left out.

    Raises:
        UserError: says how many rows, and which setting to change.
    """
    _check(extent.lengths_N, max_sequence_length, "tokens", "max_sequence_length")
    _check(extent.images_N, max_images, "pictures", "max_images")


def _check(sizes_N: npt.NDArray[np.int64], limit: int, what: str, setting: str) -> None:
    num_over = int((sizes_N > limit).sum())
    if num_over:
        longest = int(sizes_N.max())
        raise UserError(
            f"{num_over} of {len(sizes_N)} examples have more than {limit} {what}, the most "
            f"{longest}: set {setting} to {longest}, or export the data with fewer"
        )
