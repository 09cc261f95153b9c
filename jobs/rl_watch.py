"""What jobs.rl shows while it runs: each step, each evaluation, and how play is going meanwhile."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from actors.rollout import watch_training
from cluster.errors import RunError
from cluster.training.setup import Books, TrainingProgress
from configs.rl import RlConfig
from jobs.training_watch import News

_QUIET_S: Final = 20.0
"""After so long without a line there is one on the play."""


class RlWatch:
    """Follows a run: its ledger, and what its ranks write to its folder."""

    def __init__(self, config: RlConfig, ledger: Any) -> None:
        self._config = config
        self._ledger = ledger
        self._show = _Show(config)
        self._books: Books | None = None
        self._failure: BaseException | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Meanwhile have the ledger play, and print what happens. It is to be closed within."""
        thread = threading.Thread(target=self._follow, name="rl-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join(timeout=60.0)
            self._show.news()

    def books(self) -> Books:
        """The ledger's last account, once it has ended.

        Raises:
            PickaxeError: what ended its play before its time.
        """
        if self._failure is not None:
            raise self._failure
        if self._books is None:
            raise RunError("the ledger never told its account")
        return self._books

    def _follow(self) -> None:
        try:
            for progress in watch_training(self._ledger):
                self._books = progress.books
                self._show.played(progress)
                self._show.news()
        except BaseException as error:  # told by the main thread, once the ranks have ended
            self._failure = error


class _Show:
    """Prints the ranks' lines, and one on the play where they have none for long."""

    def __init__(self, config: RlConfig) -> None:
        workers = config.learner
        told_of = partial(told, num_steps=config.num_steps)
        self._news = News(Path(config.output), workers.max_failures, told_of)
        self._quiet_since = time.monotonic()
        self._num_turns = 0

    def news(self) -> None:
        """Print what the ranks have written since the last time."""
        for line in self._news.take():
            self._say(line)

    def played(self, progress: TrainingProgress) -> None:
        """Now and then, how play is going."""
        self._num_turns += sum(summary.num_turns for summary in progress.summaries)
        quiet_s = time.monotonic() - self._quiet_since
        if quiet_s < _QUIET_S:
            return
        states = ", ".join(f"{number} {state}" for state, number in progress.counts.items())
        why = ", ".join(f"{reason}: {number}" for reason, number in progress.drops.items())
        dropped = f"; groups dropped: {why}" if why else ""
        rate = self._num_turns / quiet_s
        self._say(
            f"playing by version {progress.version}: {states}{dropped}; {rate:.0f} decisions/s"
        )

    def _say(self, line: str) -> None:
        print(line, flush=True)
        self._quiet_since, self._num_turns = time.monotonic(), 0


def told(line: Mapping[str, float], num_steps: int) -> str:
    """A line of metrics for a reader."""
    start = f"step {int(line['step'])}/{num_steps}"
    if "eval_worlds" in line:
        return (
            f"{start}: evaluated on {line['eval_worlds']:.0f} worlds: "
            f"return {line.get('eval_return', float('nan')):.2f}, "
            f"achievements {line.get('eval_achievements', float('nan')):.2f}, "
            f"score {line.get('eval_score', float('nan')):.1f}"
        )
    return (
        f"{start}: return {line['mean_return']:.2f}, achievements "
        f"{line.get('mean_achievements', float('nan')):.2f}, bad calls "
        f"{line.get('bad_call_share', float('nan')):.1%}, entropy {line['entropy']:.2f}, "
        f"clipped {line['clip_fraction_low'] + line['clip_fraction_high']:.1%}, "
        f"gradient {line['grad_norm']:.2f}, "
        f"{_mismatch(line)}staleness {line['staleness_mean']:.2f}; "
        f"{line['decisions']:.0f} decisions, waited {line['learner_idle_s']:.0f} s, "
        f"learned {line['train_s']:.0f} s"
    )


def _mismatch(line: Mapping[str, float]) -> str:
    """Nothing where no decision was of weights that are still known."""
    return f"mismatch {line['mismatch_kl']:.1e}, " if line["mismatch_measured"] else ""
