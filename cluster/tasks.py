"""Coroutines that run beside each other in an actor; the first failure of one is kept for all."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """Started here, waited for together."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self.failure: BaseException | None = None
        """What the first task that failed died of."""

    def start(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def wake(self) -> None:
        """Something has changed: `wait` returns."""
        self._changed.set()

    async def wait(self, timeout_s: float = 1.0) -> None:
        """Until a task ends or somebody calls `wake`; at once if that was since the last time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        self._changed.clear()

    def cancel(self) -> None:
        for task in self._running:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()
        self.wake()
