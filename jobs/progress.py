"""What a long job shows: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cluster.types import Summary

_PLAIN_EVERY_S = 10.0


@dataclass(slots=True)
class Tally:
    """Running figures of a stage."""

    label: str
    total: int
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    num_achievements: int = 0
    num_turns: int = 0
    num_tokens: int = 0
    num_played: int = 0
    """Episodes of this start; `done` also counts those of earlier ones."""

    def add(self, summary: Summary) -> None:
        self.done += 1
        self.num_played += 1
        self.num_achievements += len(summary.achievements)
        self.num_turns += summary.num_turns
        self.num_tokens += summary.num_completion_tokens

    def figures(self) -> str:
        """Rates and means since the stage began, of episodes that have ended."""
        if not self.num_played:
            return "no episode has ended yet"
        elapsed_s = max(time.monotonic() - self.started, 1e-9)
        mean = self.num_achievements / self.num_played
        parts = [f"{self.num_turns / elapsed_s:.0f} decisions/s"]
        if self.num_tokens:
            parts.append(f"{self.num_tokens / elapsed_s:.0f} tokens/s")
        parts.append(f"mean achievements {mean:.1f}")
        return ", ".join(parts)

    def eta_s(self) -> float | None:
        elapsed_s = time.monotonic() - self.started
        if not self.num_played:
            return None
        return elapsed_s / self.num_played * (self.total - self.done)


Show = Callable[[str], None]


@contextmanager
def progress_of(tally: Tally) -> Iterator[tuple[Callable[[], None], Show]]:
    """Yields (refresh, say): call the first often; the second prints a line that stays."""
    if sys.stdout.isatty():
        with _bar() as bar:
            task = bar.add_task(tally.label, total=tally.total, figures="")

            def refresh() -> None:
                bar.update(task, completed=tally.done, figures=tally.figures())

            yield refresh, lambda line: bar.console.print(line, highlight=False, markup=False)
            refresh()
    else:
        plain = _Plain(tally)
        yield plain.refresh, lambda line: print(line, flush=True)
        plain.show()


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=Console(),
    )


class _Plain:
    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._next = time.monotonic() + _PLAIN_EVERY_S

    def refresh(self) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PLAIN_EVERY_S
            self.show()

    def show(self) -> None:
        tally = self._tally
        eta_s = tally.eta_s()
        left = f", {eta_s:.0f} s left" if eta_s else ""
        print(f"{tally.label}: {tally.done}/{tally.total}{left}, {tally.figures()}", flush=True)
