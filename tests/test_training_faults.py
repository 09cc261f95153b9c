"""The ledger of training in one event loop: what is asked again, lost, late, or written twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ObjectLostError

from cluster.credit import Played, credit_of
from cluster.recorder import Recalled, Recorder
from cluster.tasks import Tasks
from cluster.trace_writer import Part
from cluster.training import play
from cluster.training.dealing import Share
from cluster.training.ledger import TrainingLedger
from cluster.training.setup import TrainingSetup
from cluster.types import EpisodeSpec, Trajectory
from tests.training_play import judge, played_with, setup
from tests.without_ray import Handle, died


class Worker:
    """Plays at once, unless it is told to wait."""

    def __init__(self) -> None:
        self.asked: list[EpisodeSpec] = []
        self.may_play = asyncio.Event()
        self.may_play.set()
        self.num_given_up = 0

    async def turns(self) -> dict[str, int]:
        return {}

    async def take_over(self) -> int | None:
        self.num_given_up += 1
        return None

    async def serve(self, version: int) -> None:
        pass

    async def play(
        self, spec: EpisodeSpec, version: int, is_pinned: bool
    ) -> tuple[Played, Trajectory]:
        self.asked.append(spec)
        await self.may_play.wait()
        whole = played_with(spec, version, float(spec.sample % 2), env={"n": len(self.asked)})
        return Played(whole.summary(), credit_of(whole)), whole


class Disk:
    """The writer, and what it wrote."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Trajectory]] = {}
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.losses: list[str] = []
        """Parts of which an object is gone when they are written, once each."""

    async def write(self, name: str, *trajectories: "asyncio.Future[Trajectory]") -> None:
        await self.may_write.wait()
        if name in self.losses:
            self.losses.remove(name)
            raise ObjectLostError("ab" * 28, None, "")
        self.parts[name] = [await one if asyncio.isfuture(one) else one for one in trajectories]

    async def ready(self) -> None:
        pass

    async def recall(self, folder: Any, name: str) -> Recalled:
        return {
            one.spec: (Played(one.summary(), credit_of(one)), one)
            for one in self.parts.get(name, [])
        }


class Run:
    """A ledger, its worker and its writer."""

    def __init__(self) -> None:
        self.worker, self.disk = Worker(), Disk()
        self.ledger = TrainingLedger(
            TrainingSetup(
                groups=setup(),
                evaluation_seeds=(50, 51),
                traces=Path(),
                episodes_per_worker=2,
                timeout_s=60.0,
                max_attempts=3,
            ),
            judge,
            lambda: None,
            lambda: ([Handle(self.worker)], Handle(self.disk)),
        )

    async def share(self, step: int) -> Share:
        share = await self.ledger.batch(step, 0, 1)
        assert share is not None
        return share

    async def train(self, step: int) -> list[Trajectory]:
        """One rank takes a step; returns what it was given."""
        share = await self.share(step)
        await self.ledger.snapshot(step)
        await self.ledger.committed(step)
        return [await whole(piece.trajectory) for piece in share.mine]


async def whole(trajectory: Any) -> Trajectory:
    found: Trajectory = await trajectory if asyncio.isfuture(trajectory) else trajectory
    return found


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A run that plays from the first version on, to its end."""

    @asynccontextmanager
    async def begin() -> AsyncIterator[Run]:
        run = Run()
        monkeypatch.setattr(play, "recall", run.disk.recall)
        await run.ledger.serve(1)
        task = asyncio.create_task(run.ledger.run())
        yield run
        run.disk.may_write.set()
        await run.ledger.close()
        await task

    return begin


async def until(what: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_an_evaluation_is_played_before_all_that_waits(running: Any) -> None:
    async with running() as run:
        run.worker.may_play.clear()
        await until(lambda: len(run.worker.asked) == 2)
        await run.ledger.evaluate(0, 1)
        run.worker.may_play.set()
        await until(lambda: len(run.worker.asked) == 10)
        assert [spec.seed for spec in run.worker.asked[2:4]] == [50, 51]


async def test_a_call_to_run_that_comes_again_joins_the_first(running: Any) -> None:
    async with running() as run:
        await until(lambda: len(run.worker.asked) == 8)
        again = asyncio.create_task(run.ledger.run())
        await asyncio.sleep(0.05)
        assert run.worker.num_given_up == 1
        assert not again.done()
    await again


async def test_what_is_lost_while_it_is_written_is_read_back_and_not_played(running: Any) -> None:
    async with running() as run:
        run.disk.may_write.clear()
        before = await run.share(0)
        await run.ledger.lost([before.mine[0].spec.id])
        run.disk.may_write.set()
        after = await run.share(0)
        assert after.groups == before.groups
        assert len(run.worker.asked) == 8
        trained = await run.train(0)
        assert run.disk.parts["group-000000"] + run.disk.parts["group-000001"] == sorted(
            trained, key=lambda one: (one.spec.seed, one.spec.sample)
        )


async def test_a_part_that_lost_an_object_is_played_again_and_written(running: Any) -> None:
    async with running() as run:
        run.disk.losses.append("group-000000")
        trained = await run.train(0)
        # Two plays more: it is not known which of the two was lost.
        assert len(run.worker.asked) == 10
        written = {one.spec: one for part in run.disk.parts.values() for one in part}
        assert all(written[one.spec] == one for one in trained)
        books = (await run.ledger.progress()).books
        assert (books.asked, books.trained, books.lost, books.doubled) == (8, 4, 0, 0)


async def test_of_an_old_part_and_a_new_play_the_part_is_written_anew(running: Any) -> None:
    async with running() as run:
        share = await run.share(0)
        piece = next(piece for piece in share.mine if piece.group == 0)
        await until(lambda: "group-000000" in run.disk.parts)
        # As an earlier start may have left it: other plays of the same episodes.
        old = [
            played_with(one.spec, 1, 7.0 + one.spec.sample, env={"n": "old"})
            for one in run.disk.parts["group-000000"]
        ]
        run.disk.parts["group-000000"] = old
        await run.ledger.lost([piece.spec.id])
        trained = await run.train(0)
    assert sum(one.env["n"] == "old" for one in trained) == 1
    given = {one.spec: one for one in trained}
    assert all(given[one.spec] == one for one in run.disk.parts["group-000000"])


async def test_lost_twice_is_lost_once(running: Any) -> None:
    async with running() as run:
        share = await run.share(0)
        ids = [piece.spec.id for piece in share.mine]
        await asyncio.gather(run.ledger.lost(ids), run.ledger.lost(ids))
        await run.train(0)
        counts = (await run.ledger.progress()).counts
        assert counts["trained"] == 4
        assert sum(counts.values()) == 8


class Dying:
    """A writer whose first call dies, after the second has been made."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.num_calls = 0

    async def write(self, name: str, content: str) -> None:
        self.num_calls += 1
        if self.num_calls == 1:
            await asyncio.sleep(0.1)
            raise died()
        self.written.append(content)


async def test_a_part_that_is_written_again_stays_the_last() -> None:
    tasks, writer = Tasks(), Dying()
    recorder = Recorder(Handle(writer), tasks, lambda part, loss: None)
    for content in ("old", "new"):
        recorder.record(Part(name="group", specs=(), trajectories=(content,)))
    assert recorder.is_writing(["group"])
    await within(recorder.written("group"))
    assert writer.written == ["old", "new"]
    assert len(recorder) == 0


async def within(call: Awaitable[None]) -> None:
    async with asyncio.timeout(10):
        await call
