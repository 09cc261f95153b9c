"""A run's figures: lines of JSON that outlive it, and the same for TensorBoard."""

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from cluster.files import replacing

METRICS: Final = "metrics.jsonl"
_EVENTS: Final = "tensorboard"


class MetricsLog:
    """Appends to a run's figures; one process at a time."""

    def __init__(self, folder: Path, step: int) -> None:
        """Go on after `step`: what was told of later ones is going to be told again."""
        self._path = folder / METRICS
        forget_after(self._path, step)
        tensorboard: Any = import_module("tensorboardX")  # untyped
        self._events = tensorboard.SummaryWriter(str(folder / _EVENTS), purge_step=step + 1)

    def add(self, line: Mapping[str, float]) -> None:
        """Tell figures of a step; `line` has "step" among them."""
        append(self._path, line)
        for name, value in line.items():
            if name != "step":
                self._events.add_scalar(name.replace(" ", "_"), value, int(line["step"]))

    def close(self) -> None:
        self._events.close()


def append(path: Path, line: Mapping[str, float]) -> None:
    """Tell figures of a step; `line` has "step" among them."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def forget_after(path: Path, step: int) -> None:
    """Remove the lines of later steps: they are going to be told again."""
    if path.exists():
        kept = [line for line in read_lines(path, 0) if line["step"] <= step]
        with replacing(path) as beside:
            beside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


def read_lines(path: Path, start: int) -> list[dict[str, float]]:
    """Whole lines from number `start`; a run that was restarted tells the same ones again."""
    try:
        return list(_parsed(path.read_bytes(), start))
    except FileNotFoundError:
        return []


def _parsed(text: bytes, start: int = 0) -> Iterator[dict[str, float]]:
    # The last line may be torn: under way, or its process was killed.
    for line in text[: text.rfind(b"\n") + 1].splitlines()[start:]:
        yield json.loads(line)
