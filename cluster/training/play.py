"""The play of a training run: lets groups in, has them played and written, evaluates versions."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from cluster.credit import Played
from cluster.crew import Crew
from cluster.ledger import Ledger
from cluster.recorder import Recorder, recall
from cluster.tasks import Tasks
from cluster.trace_writer import Part
from cluster.training.account import Outcome, TrainingAccount, part_name
from cluster.training.evaluations import Evaluations, evaluation_part
from cluster.training.setup import TrainingSetup
from cluster.types import EpisodeSpec, Summary
from cluster.versions import Order, Served

_TICK_S: Final = 1.0
_SAVE_S: Final = 15.0
"""When a run ends, this long is given to what is still to be written."""
_MAX_WRITING: Final = 64
"""No group is let in while this many parts wait for a slow disk."""


class TrainingPlay:
    """What makes an account grow. Lives in an event loop; `run` is its heart."""

    def __init__(
        self,
        setup: TrainingSetup,
        account: TrainingAccount,
        evaluations: Evaluations,
        workers: Sequence[Any],
        writer: Any,
    ) -> None:
        self._setup = setup
        self._account = account
        self._evaluations = evaluations
        self.tasks = Tasks()
        self.recorder = Recorder(writer, self.tasks, self._written)
        self.ledger = Ledger((), setup.max_attempts, setup.timeout_s)
        self._crew = Crew(self.ledger, self, self.tasks, workers, setup.episodes_per_worker)
        self._served = Served(setup.turn_version == "newest", setup.groups.max_staleness + 1)
        self._news: list[Summary] = []
        self._is_closed = False

    @property
    def version(self) -> int | None:
        """Served to new episodes."""
        return self._served.newest

    def serve(self, version: int) -> None:
        """New episodes are played with it, unless a higher one is served."""
        if self._served.add(version):
            self._crew.serve(version)
            self.tasks.wake()

    def in_use(self) -> tuple[int, ...]:
        """Versions that a turn may be asked for now."""
        waiting = (Order(version, is_pinned=True) for version in self._evaluations.waiting)
        return self._served.in_use([*self._crew.orders(), *waiting])

    def take_news(self) -> list[Summary]:
        """Of the episodes that came in since the last time."""
        news, self._news = self._news, []
        return news

    def have_again(self, specs: Iterable[EpisodeSpec]) -> None:
        """Trajectories that were held are gone."""
        for spec in self._account.lost(specs):
            self.tasks.start(self._recover(spec))

    async def run(self) -> None:
        """Until `close`.

        Raises:
            PickaxeError: the run can't go on; the cause.
        """
        try:
            await self._begin()
            await self._go_on()
        except Exception as error:
            self.tasks.failure = self.tasks.failure or error
        await self.recorder.finish(_SAVE_S)
        self.tasks.cancel()
        if self.tasks.failure is not None:
            raise self.tasks.failure

    async def close(self) -> None:
        """End `run`; returns once what was played is durable."""
        self._is_closed = True
        self.tasks.wake()
        await self.recorder.finish(_SAVE_S)

    async def _begin(self) -> None:
        """Take what an earlier start has left, then wait for a version to go on with."""
        heard = await self._crew.take_over()
        self._crew.listen()
        if heard is not None:  # from the process in whose place this one is
            self.serve(heard)
            self._evaluations.go_on()
        await self.recorder.drain()
        for index, oldest in self._account.open().items():
            await self._recall(index, oldest, self._account.missing(index))
        while self.version is None and self._goes_on:
            await self.tasks.wait()
        if self.version is not None:
            for index in self._account.reopen(self.version):
                self.ledger.ask(self._account.missing(index))
            for version in range(1, self.version):
                # Let in as they were before, groups find their traces.
                await self._let_in(version)

    async def _go_on(self) -> None:
        last_tick = time.monotonic()
        while self._goes_on:
            await self._evaluate()
            if self.version is not None and len(self.recorder) < _MAX_WRITING:
                await self._let_in(self.version)
            while self._crew.hand_out():
                pass
            await self.tasks.wait()
            if time.monotonic() - last_tick > _TICK_S:
                last_tick = time.monotonic()
                self._crew.expire()
            for spec, reason in self.ledger.take_dropped():
                self._failed(spec, reason)

    @property
    def _goes_on(self) -> bool:
        return not self._is_closed and self.tasks.failure is None

    async def _let_in(self, version: int) -> None:
        for index, oldest in self._account.admit(version).items():
            left = await self._recall(index, oldest, self._account.missing(index))
            self.ledger.ask(left)

    async def _evaluate(self) -> None:
        specs = self._evaluations.start(self.version or 0)
        if not specs:
            return
        found = await recall(self._setup.traces, evaluation_part(specs[0].sample))
        summaries = [found[spec][0].summary for spec in specs if spec in found]
        if len(summaries) == len(specs) and not any(summary.error for summary in summaries):
            for summary in summaries:
                self._evaluations.came_in(summary, None)
        else:
            self.ledger.ask(specs, first=True)

    async def _recall(
        self, index: int, oldest: int, specs: Sequence[EpisodeSpec]
    ) -> Sequence[EpisodeSpec]:
        """Take episodes of a group from the traces; returns those that are to be played."""
        found = await recall(self._setup.traces, part_name(index))
        if not all(
            spec in found and self._account.is_usable(found[spec][0], oldest) for spec in specs
        ):
            return specs
        for spec in specs:
            outcome = self._account.came_in(*found[spec])
            if len(specs) < len(found):  # the others may have been played since it was written
                self._settle(outcome)
        return ()

    async def _recover(self, spec: EpisodeSpec) -> None:
        """Have again what was held: from the traces, once its part is in them, or played."""
        index = self._account.index(spec)
        await self.recorder.written(part_name(index))
        oldest = self._account.open().get(index)
        left = () if oldest is None else await self._recall(index, oldest, (spec,))
        if index in self._account.open():
            self.ledger.ask(left, first=True)
            self.tasks.wake()

    # What becomes of episodes

    def order(self, spec: EpisodeSpec) -> Order | None:
        """How an episode that starts now is played. For the crew."""
        if spec in self._evaluations:
            return Order(spec.sample, is_pinned=True)
        return None if self.version is None else Order(self.version, is_pinned=False)

    def came_in(self, played: Played, trajectory: Any) -> None:
        """The first result of an episode. For the crew."""
        spec = played.summary.spec
        self.ledger.forget([spec])
        self._news.append(played.summary)
        if spec in self._evaluations:
            self._record(self._evaluations.came_in(played.summary, trajectory))
        else:
            self._settle(self._account.came_in(played, trajectory))

    def _failed(self, spec: EpisodeSpec, reason: str) -> None:
        if spec in self._evaluations:
            self._record(self._evaluations.failed(spec, reason))
        else:
            self._settle(self._account.failed(spec, reason))

    def _settle(self, outcome: Outcome) -> None:
        self.ledger.forget(outcome.unwanted)
        self._record(outcome.part)

    def _record(self, part: Part | None) -> None:
        if part is not None:
            self.recorder.record(part)

    def _written(self, part: Part, loss: str) -> None:
        if loss:
            self.have_again(part.specs)
