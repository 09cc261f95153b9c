"""What jobs.sft shows while its workers train: the run's own figures, a line at a time."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from configs.sft import SftConfig
from learners.metrics_log import METRICS, read_lines
from learners.ray_train import FAILURES

_EVERY_S = 1.0


@contextmanager
def watching(config: SftConfig, num_steps: int) -> Iterator[None]:
    """Meanwhile print what the workers write to the run's folder."""
    show = _Show(config, num_steps)
    is_over = threading.Event()

    def follow() -> None:
        while not is_over.wait(_EVERY_S):
            show.news()

    thread = threading.Thread(target=follow, name="sft-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        show.news()


class _Show:
    """Prints each line once; a restart tells the same lines again."""

    def __init__(self, config: SftConfig, num_steps: int) -> None:
        self._folder = folder = Path(config.output)
        self._batch_size = config.batch_size
        self._num_steps = num_steps
        self._restarts_left = config.cluster.max_failures
        self._num_lines = len(read_lines(folder / METRICS, 0))
        self._num_failures = len(_failures(folder))

    def news(self) -> None:
        for failure in _failures(self._folder)[self._num_failures :]:
            self._num_failures += 1
            self._restarts_left -= 1
            then = ": starting again from the last checkpoint" if self._restarts_left >= 0 else ""
            print(f"worker {failure['rank']} died ({failure['cause']}){then}", flush=True)
        for line in read_lines(self._folder / METRICS, self._num_lines):
            self._num_lines += 1
            print(self._told(line), flush=True)

    def _told(self, line: Mapping[str, float]) -> str:
        step = int(line["step"])
        start = f"step {step}/{self._num_steps}"
        if "eval_loss" in line:
            return (
                f"{start}: validation loss {line['eval_loss']:.4f}, tokens right "
                f"{line['eval_accuracy']:.1%}, calls right {line['eval_call_accuracy']:.1%}"
            )
        left_s = (self._num_steps - step) * self._batch_size / line["samples_per_s"]
        return (
            f"{start}: loss {line['loss']:.4f}, tokens right {line['accuracy']:.1%}, "
            f"gradient {line['grad_norm']:.2f}, {line['samples_per_s']:.1f} examples/s, "
            f"{left_s:.0f} s left"
        )


def _failures(folder: Path) -> list[dict[str, str]]:
    try:
        text = (folder / FAILURES).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines()]
