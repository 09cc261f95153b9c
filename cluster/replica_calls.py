"""Calls of replicas that may be dead, be restarted, or hang."""

import asyncio
import math
import sys
from collections.abc import Awaitable, Mapping
from typing import Any, Final

import ray
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

from cluster.remote import own_cause, root_cause

_PING_EVERY_S: Final = 5.0
_LOOK_S: Final = 1.0


class AwayError(Exception):
    """The replica is being restarted, or was killed to be."""


class GoneError(Exception):
    """The replica will not come back."""


class Replicas:
    """By name. One that hangs is killed, and Ray restarts it. Use from one event loop."""

    def __init__(
        self, replicas: Mapping[str, Any], silence_timeout_s: float, patience_s: float
    ) -> None:
        """Args:
        replicas: handles of the actors, by name. Ray tells whoever holds one of a restart.
        silence_timeout_s: for an answer to `watch`.
        patience_s: for an answer to `each`, which may have to wait until other work is done.
        """
        self._replicas = dict(replicas)
        self._patience_s = patience_s
        self._silence_timeout_s = silence_timeout_s

    async def each(self, method: str, *args: Any) -> list[Any]:
        """Call all of them at the same time.

        Returns:
            What each gave, or what its call ended in: AwayError, GoneError, or its own failure.
        """
        calls = (self._call(name, self._patience_s, method, *args) for name in self._replicas)
        return await asyncio.gather(*calls, return_exceptions=True)

    async def watch(self) -> None:
        """Kill whichever does not answer; returns when all are gone for good.

        Begin when each has started: of starts after that Ray tells.
        """
        await asyncio.gather(*map(self._watch, self._replicas))

    async def _watch(self, name: str) -> None:
        while True:
            try:
                await self._call(name, self._silence_timeout_s, "ping")
            except GoneError:
                return
            except AwayError:
                pass
            except Exception as error:  # whatever it was, the next hang is to be seen
                print(f"{name} answered a ping with {error!r}", file=sys.stderr, flush=True)
            await asyncio.sleep(_PING_EVERY_S)

    async def _call(self, name: str, timeout_s: float, method: str, *args: Any) -> Any:
        handle = self._replicas[name]
        try:
            return await _within(getattr(handle, method).remote(*args), timeout_s)
        except RayTaskError as error:  # first: it is of the class of its cause as well
            raise own_cause(error) from None
        except TimeoutError:
            cause = f"{name} did not answer {method} for {timeout_s:g} s"
            print(f"{cause}: it is killed, to be restarted", file=sys.stderr, flush=True)
            ray.kill(handle, no_restart=False)
            raise AwayError(cause) from None
        except ActorDiedError as error:
            raise GoneError(root_cause(error)) from None
        except RayActorError as error:
            raise AwayError(root_cause(error)) from None


async def _within(answer: Awaitable[Any], timeout_s: float) -> Any:
    """An answer, or TimeoutError.

    The time is counted in looks: where this process too was stopped, or starved, nobody was
    silent.
    """
    waiting = asyncio.ensure_future(answer)
    for _ in range(math.ceil(timeout_s / _LOOK_S)):
        if (await asyncio.wait([waiting], timeout=_LOOK_S))[0]:
            return waiting.result()
    waiting.cancel()
    raise TimeoutError
