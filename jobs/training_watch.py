"""What a training's workers write to its folder, as lines for whoever watches."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from learners.metrics_log import METRICS, read_lines
from learners.ray_train import FAILURES, WARNINGS


class News:
    """Tells each line once; a restart writes the same lines again."""

    def __init__(
        self, folder: Path, max_failures: int, told: Callable[[Mapping[str, float]], str]
    ) -> None:
        """`told` makes a sentence of a line of metrics."""
        self._folder = folder
        self._told = told
        self._restarts_left = max_failures
        self._num_lines = len(read_lines(folder / METRICS, 0))
        self._num_failures = len(_lines(folder / FAILURES))
        self._num_warnings = len(_lines(folder / WARNINGS))

    def take(self) -> list[str]:
        """What has been written since the last time."""
        said = []
        for failure in _lines(self._folder / FAILURES)[self._num_failures :]:
            self._num_failures += 1
            self._restarts_left -= 1
            then = ": starting again from the last checkpoint" if self._restarts_left >= 0 else ""
            said.append(f"learner {failure['rank']} died ({failure['cause']}){then}")
        for warning in _lines(self._folder / WARNINGS)[self._num_warnings :]:
            self._num_warnings += 1
            said.append(f"warning: {warning['sentence']}")
        for line in read_lines(self._folder / METRICS, self._num_lines):
            self._num_lines += 1
            said.append(self._told(line))
        return said


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]
