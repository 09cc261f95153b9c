"""The actor that runs a ledger: it asks workers to play, holds what returns, has it written."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.credit import Played
from cluster.crew import Crew
from cluster.ledger import Ledger
from cluster.recorder import Recorder
from cluster.tasks import Tasks
from cluster.trace_writer import Part
from cluster.types import EpisodeSpec, Summary
from cluster.versions import Order

_FLUSH_S = 2.0
"""A result waits at most this long for others to share its part file."""
_SAVE_S = 15.0
"""When a run fails, this long is given to what is still to be written."""
_MAX_HELD_PARTS = 4
"""No episode starts while this many parts wait for a slow disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSetup:
    """How a ledger is to run."""

    specs: tuple[EpisodeSpec, ...]
    run_id: str
    """Prefix of the part files; unique among the starts of a run."""
    episodes_per_worker: int
    episodes_per_part: int
    timeout_s: float
    max_attempts: int


@dataclass(slots=True)
class Progress:
    """What a watcher is told."""

    counts: dict[str, int]
    summaries: list[Summary]
    """Accepted since the watcher last asked."""
    num_replayed: int
    num_duplicates: int
    dropped: dict[str, Sequence[str]]


@dataclass(slots=True)
class _Held:
    spec: EpisodeSpec
    trajectory: Any
    """ObjectRef of a Trajectory."""


class LedgerActor:
    """Async actor; `run` ends when every episode is finished or dropped."""

    def __init__(self, setup: LedgerSetup, workers: Sequence[Any], writer: Any) -> None:
        self._setup = setup
        self._ledger = Ledger(setup.specs, setup.max_attempts, setup.timeout_s)
        self._tasks = Tasks()
        self._crew = Crew(self._ledger, self, self._tasks, workers, setup.episodes_per_worker)
        self._recorder = Recorder(writer, self._tasks, self._written)
        self._held: list[_Held] = []
        self._news: list[Summary] = []
        self._parts = itertools.count()

    async def run(self) -> None:
        """Play and write everything.

        Raises:
            PickaxeError: the run can't go on; the cause. What had been played is written first.
        """
        self._crew.listen()
        self._tasks.start(self._write_all())
        most_held = _MAX_HELD_PARTS * self._setup.episodes_per_part
        last_tick = time.monotonic()
        while not self._ledger.is_settled and self._tasks.failure is None:
            while self._ledger.counts()["played"] < most_held and self._crew.hand_out():
                pass
            await self._tasks.wait()
            if time.monotonic() - last_tick > 1.0:
                last_tick = time.monotonic()
                self._crew.expire()
        if self._tasks.failure is not None:
            await self._save_what_is_held()
        self._tasks.cancel()
        if self._tasks.failure is not None:
            raise self._tasks.failure

    async def _save_what_is_held(self) -> None:
        deadline = time.monotonic() + _SAVE_S
        while self._ledger.counts()["played"] and time.monotonic() < deadline:
            await self._tasks.wait()

    async def progress(self) -> Progress:
        news, self._news = self._news, []
        return Progress(
            counts=self._ledger.counts(),
            summaries=news,
            num_replayed=self._ledger.num_replayed,
            num_duplicates=self._ledger.num_duplicates,
            dropped=self._ledger.dropped(),
        )

    def order(self, spec: EpisodeSpec) -> Order | None:
        """Every episode is played as the workers are set up. For the crew."""
        return None

    def came_in(self, played: Played, trajectory: Any) -> None:
        """An episode's result is to be written. For the crew."""
        self._held.append(_Held(played.summary.spec, trajectory))
        self._news.append(played.summary)

    async def _write_all(self) -> None:
        since = time.monotonic()
        while True:
            await asyncio.sleep(0.1)
            if not self._held:
                since = time.monotonic()
            enough = len(self._held) >= self._setup.episodes_per_part
            if self._held and (enough or time.monotonic() - since > _FLUSH_S):
                held = self._held[: self._setup.episodes_per_part]
                del self._held[: len(held)]
                self._recorder.record(self._part(held))

    def _part(self, held: list[_Held]) -> Part:
        return Part(
            name=f"{self._setup.run_id}-{next(self._parts):05d}",
            specs=tuple(one.spec for one in held),
            trajectories=tuple(one.trajectory for one in held),
        )

    def _written(self, part: Part, loss: str) -> None:
        if loss:
            self._ledger.result_lost(part.specs, loss)
        else:
            self._ledger.durable(part.specs)
