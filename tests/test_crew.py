"""The workers of a run, without Ray: what is done about one that does not come back."""

import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from cluster import crew
from cluster.crew import Crew
from cluster.ledger import Ledger
from cluster.tasks import Tasks


class Deaf:
    """A worker that has died once, and answers nothing since."""

    def __init__(self) -> None:
        self.has_died = False
        self.is_asked_again = asyncio.Event()

    @property
    def turns(self) -> "Deaf":
        return self

    async def remote(self) -> dict[str, int]:
        if self.has_died:
            self.is_asked_again.set()
            await asyncio.Event().wait()
        self.has_died = True
        raise ActorUnavailableError("it died", None)


class Desk:
    """Gives no orders and is given nothing."""

    def order(self, spec: Any) -> None:
        raise AssertionError("nothing is played")

    def came_in(self, played: Any, trajectory: Any) -> None:
        raise AssertionError("nothing is played")


async def test_a_worker_that_does_not_come_back_is_killed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[Any] = []
    monkeypatch.setattr(crew.ray, "kill", lambda worker, no_restart: killed.append(worker))
    monkeypatch.setattr(crew, "_LISTEN_S", 0.0)
    monkeypatch.setattr(crew, "_RETURN_S", 0.5)
    tasks, worker = Tasks(), Deaf()
    workers = Crew(Ledger((), 3, 60.0), Desk(), tasks, [worker], 1)
    workers.listen()
    await worker.is_asked_again.wait()
    workers.expire()
    assert killed == []
    await asyncio.sleep(0.6)
    workers.expire()
    workers.expire()  # it is given the time anew
    assert killed == [worker]
    tasks.cancel()
