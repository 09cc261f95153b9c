"""A run's figures over its steps, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cluster.files import replacing
from learners.metrics_log import METRICS, read_lines

CURVES: Final = "curves.png"

Panels = Mapping[str, Mapping[str, str]]
"""Title -> name of a figure -> what its curve is called."""

SFT: Final[Panels] = {
    "loss, nats a token": {"loss": "training", "eval_loss": "validation"},
    "share right": {
        "accuracy": "tokens, training",
        "eval_accuracy": "tokens, validation",
        "eval_call_accuracy": "whole calls, validation",
    },
}

RL: Final[Panels] = {
    "return of an episode": {"mean_return": "training", "eval_return": "evaluation"},
    "achievements": {"mean_achievements": "training", "eval_achievements": "evaluation"},
    "entropy, nats a token": {"entropy": "training"},
    "divergence, nats a token": {"mismatch_kl": "engine and learner"},
}


def draw_curves(folder: Path, panels: Panels) -> Path:
    """Draw a run's figures beside them; returns where the picture is.

    Args:
        folder: of the run, with its metrics.
        panels: what is drawn; a figure that no line has is left out.
    """
    from matplotlib.figure import Figure

    lines = read_lines(folder / METRICS, 0)
    figure = Figure(figsize=(5 * len(panels), 3.6), layout="constrained")
    for axes, (title, names) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        for name, label in names.items():
            steps, values = curve_of(lines, name)
            if steps:
                axes.plot(steps, values, label=label, marker="." if len(steps) < 50 else None)
        if axes.lines:
            axes.legend()
    with replacing(folder / CURVES) as beside:
        figure.savefig(beside, format="png")
    return folder / CURVES


def curve_of(lines: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    """The steps at which a figure was told, and its values."""
    told = [line for line in lines if name in line]
    return [line["step"] for line in told], [line[name] for line in told]
