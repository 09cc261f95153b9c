"""A run's figures, drawn."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from learners.curves import curve_of, draw_curves

LINES = [
    {"step": 10, "loss": 2.0},
    {"step": 20, "loss": 1.0},
    {"step": 20, "eval_loss": 1.5},
]


def test_a_curve_has_the_steps_at_which_its_figure_was_told() -> None:
    assert curve_of(LINES, "loss") == ([10, 20], [2.0, 1.0])
    assert curve_of(LINES, "eval_loss") == ([20], [1.5])


def test_a_picture_shows_a_curve(tmp_path: Path) -> None:
    drawn = []
    for lines in ([], LINES):
        metrics = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "metrics.jsonl").write_text(metrics)
        path = draw_curves(tmp_path, {"loss": {"loss": "training", "eval_loss": "validation"}})
        drawn.append(np.asarray(Image.open(path).convert("RGB"), np.int64))
    blank, curved = drawn
    # The curve's blue is nowhere in empty axes.
    blue = np.array([31, 119, 180])
    assert (np.abs(curved - blue).sum(-1) < 30).sum() > 50
    assert not (np.abs(blank - blue).sum(-1) < 30).any()
