"""Stand-ins for the handles of actors, in one event loop: a ledger runs against them as it is."""

import asyncio
from collections.abc import Callable
from typing import Any

from ray.exceptions import ActorUnavailableError


class Method:
    """`handle.method.remote(...)` gives a future, or as many as asked for."""

    def __init__(self, function: Callable[..., Any], num_returns: int = 1) -> None:
        self._function = function
        self._num_returns = num_returns

    def options(self, num_returns: int) -> "Method":
        return Method(self._function, num_returns)

    def remote(self, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(self._num_returns)]
        self._task = asyncio.create_task(self._call(futures, arguments))
        return futures if self._num_returns > 1 else futures[0]

    async def _call(self, futures: list["asyncio.Future[Any]"], arguments: Any) -> None:
        try:
            result = await self._function(*arguments)
        except Exception as error:
            for future in futures:
                if not future.cancelled():
                    future.set_exception(error)
                    future.exception()  # nobody need ask for it
            return
        results = result if self._num_returns > 1 else (result,)
        for future, one in zip(futures, results, strict=True):
            if not future.cancelled():
                future.set_result(one)


class Handle:
    """An actor whose methods are coroutines of `actor`."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Method:
        return Method(getattr(self._actor, name))


def died() -> Exception:
    """What a call of an actor that died, and is restarted, ends in."""
    return ActorUnavailableError("it died", None)
