"""What jobs.sft shows while its workers train: the run's own figures, a line at a time."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from configs.sft import SftConfig
from jobs.training_watch import News

_EVERY_S: Final = 1.0


@contextmanager
def watching(config: SftConfig, num_steps: int) -> Iterator[None]:
    """Meanwhile print what the workers write to the run's folder."""
    told = partial(_told, config, num_steps)
    news = News(Path(config.output), config.cluster.max_failures, told)
    is_over = threading.Event()

    def follow() -> None:
        while not is_over.wait(_EVERY_S):
            _say(news)

    thread = threading.Thread(target=follow, name="sft-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        _say(news)


def _say(news: News) -> None:
    for line in news.take():
        print(line, flush=True)


def _told(config: SftConfig, num_steps: int, line: Mapping[str, float]) -> str:
    step = int(line["step"])
    start = f"step {step}/{num_steps}"
    if "eval_loss" in line:
        return (
            f"{start}: validation loss {line['eval_loss']:.4f}, tokens right "
            f"{line['eval_accuracy']:.1%}, calls right {line['eval_call_accuracy']:.1%}"
        )
    left_s = (num_steps - step) * config.batch_size / line["samples_per_s"]
    return (
        f"{start}: loss {line['loss']:.4f}, tokens right {line['accuracy']:.1%}, "
        f"gradient {line['grad_norm']:.2f}, {line['samples_per_s']:.1f} examples/s, "
        f"{left_s:.0f} s left"
    )
