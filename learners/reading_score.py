"""How well a model reads pictures it has not learned from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from cluster.names import TILES
from learners.batch import Batch, collate
from learners.example import NO_LABEL, Example
from learners.language import Language
from learners.reading import COLUMNS, NUM_READABLE, REQUEST, ROWS, Sight

NUM_TILES: Final = ROWS * COLUMNS
DARKNESS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Edges of the bands of daylight that are reported apart."""
_PICTURES_AT_ONCE: Final = 64
_QUESTIONS: Final = 40
"""In one conversation: about as many as it was taught with; twice as many are beyond it."""
DAY: Final = 0.5
"""From this daylight on Crafter draws no darkness."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What was shown and what the model said, for N pictures; -1 is a word that is no answer."""

    shown_NC: npt.NDArray[np.int64]
    """[N, 79]: the view's tiles as indices into TILES, then the inventory's counts."""
    said_NC: npt.NDArray[np.int64]
    daylight_N: npt.NDArray[np.float64]
    asleep_N: npt.NDArray[np.bool_]


def ask(model: Any, language: Language, sights: Sequence[Sight], seed: int) -> Answers:
    """Ask for every cell of every picture, each picture's cells in an order of its own.

    A conversation is of 40 questions at most. The model reads its own answers to the questions
    before, never the true ones.

    Args:
        model: a bare Qwen3-VL.
        language: its own.
        sights: pictures of one size.
        seed: of the orders.
    """
    rng = np.random.default_rng(seed)
    cells_NC = np.stack([rng.permutation(NUM_READABLE) for _ in sights])
    said_NC = np.full_like(cells_NC, NO_LABEL)
    for start in range(0, len(sights), _PICTURES_AT_ONCE):
        which = slice(start, start + _PICTURES_AT_ONCE)
        for first in range(0, NUM_READABLE, _QUESTIONS):
            asked_NQ = cells_NC[which, first : first + _QUESTIONS]
            said_NQ = _read(model, language, sights[which], asked_NQ)
            np.put_along_axis(said_NC[which], asked_NQ, said_NQ, 1)
    return _answers(language, sights, said_NC)


@torch.no_grad()
def _read(
    model: Any,
    language: Language,
    sights: Sequence[Sight],
    cells_NQ: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """The token said for each cell that is asked for, [N, Q]."""
    batch = _requests(model, language, sights)
    patches_PD, grids_N3 = language.pixels([sight.frame for sight in sights])
    state = model.model(
        input_ids=batch.ids_BL,
        position_ids=batch.positions_3BL,
        pixel_values=patches_PD,
        image_grid_thw=grids_N3,
        use_cache=True,
    )
    digits = torch.tensor([language.id_of(f" {digit}") for digit in range(COLUMNS)])
    said_NQ = np.full_like(cells_NQ, NO_LABEL)
    position = int(batch.positions_3BL.max()) + 1
    answer_N1 = torch.zeros(len(sights), 0, dtype=torch.int64)
    for turn, cell_N in enumerate(cells_NQ.T):
        question_N2 = digits[torch.from_numpy(np.stack(np.divmod(cell_N, COLUMNS), 1))]
        ids_BL = torch.cat([answer_N1, question_N2], 1)
        length = ids_BL.shape[1]
        state = model.model(
            input_ids=ids_BL,
            position_ids=(position + torch.arange(length)).expand(3, len(sights), -1),
            past_key_values=state.past_key_values,
            use_cache=True,
        )
        position += length
        answer_N1 = model.lm_head(state.last_hidden_state[:, -1]).argmax(-1)[:, None]
        said_NQ[:, turn] = answer_N1[:, 0].numpy()
    return said_NQ


def _requests(model: Any, language: Language, sights: Sequence[Sight]) -> Batch:
    examples = []
    for sight in sights:
        ids_L = np.array(language.prompt_ids("", REQUEST, (sight.frame,), None), np.int64)
        examples.append(Example(ids_L, np.full(len(ids_L), NO_LABEL, np.int64), (sight.frame,)))
    return collate(examples, language, int(model.config.vision_config.spatial_merge_size))


def _answers(
    language: Language, sights: Sequence[Sight], said_NC: npt.NDArray[np.int64]
) -> Answers:
    tiles = {language.id_of(f" {tile}"): index for index, tile in enumerate(TILES)}
    counts = {language.id_of(f" {count}"): count for count in range(10)}
    meant = [
        [(tiles if cell < NUM_TILES else counts).get(token, -1) for cell, token in enumerate(row)]
        for row in said_NC.tolist()
    ]
    shown = [[*sight.tiles.ravel().tolist(), *sight.counts.tolist()] for sight in sights]
    return Answers(
        np.array(shown, np.int64),
        np.array(meant, np.int64),
        np.array([sight.daylight for sight in sights]),
        np.array([sight.asleep for sight in sights]),
    )


def score(answers: Answers) -> dict[str, Any]:
    """Shares of right answers: by day, by darkness, asleep; recall by tile; digits apart.

    By day and by darkness count pictures of an open-eyed player; asleep, all is drawn dark.
    """
    right_NC = answers.shown_NC == answers.said_NC
    awake_N = ~answers.asleep_N
    day_N = awake_N & (answers.daylight_N >= DAY)
    recall = _recall(answers, day_N)
    bands = {
        f"{low:.2f}-{high:.2f}": _share(
            right_NC[
                awake_N & (answers.daylight_N >= low) & (answers.daylight_N < high), :NUM_TILES
            ]
        )
        for low, high in zip(DARKNESS, (*DARKNESS[1:-1], 1.01), strict=False)
    }
    return {
        "pictures": len(right_NC),
        "pictures_by_day": int(day_N.sum()),
        "tiles_by_day": _share(right_NC[day_N, :NUM_TILES]),
        "mean_recall_by_day": float(np.mean(list(recall.values()))) if recall else None,
        "recall_by_day": recall,
        "digits_by_day": _digits(answers, day_N),
        "tiles_by_daylight": bands,
        "tiles_asleep": _share(right_NC[answers.asleep_N, :NUM_TILES]),
    }


def _recall(answers: Answers, which_N: npt.NDArray[np.bool_]) -> dict[str, float]:
    shown, said = (x[which_N, :NUM_TILES] for x in (answers.shown_NC, answers.said_NC))
    return {
        name: float((said[shown == tile] == tile).mean())
        for tile, name in enumerate(TILES)
        if (shown == tile).any()
    }


def _digits(answers: Answers, which_N: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    shown, said = (x[which_N, NUM_TILES:] for x in (answers.shown_NC, answers.said_NC))
    right = shown == said
    return {
        "all": _share(right),
        "zeros": _share(right[shown == 0]),
        "one_to_eight": _share(right[(shown > 0) & (shown < 9)]),
        "nines": _share(right[shown == 9]),
    }


def _share(right: npt.NDArray[np.bool_]) -> float | None:
    return float(right.mean()) if right.size else None
