"""Which replica answers a request. Each worker decides alone, from the requests it has out."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

from cluster.errors import FatalPolicyError
from cluster.remote import own_cause, root_cause
from cluster.types import Completion, GenerationRequest

_PAUSE_S = 0.5
"""Between two looks at a pool of which nobody answers."""
_ATTEMPTS = 3
"""How often a request is sent at least, where no answer comes."""


def choose(in_flight: Sequence[int], resting: Sequence[bool], first: int) -> int | None:
    """The least loaded replica that is not resting; ties go to the next after `first`.

    Returns:
        Its index, or None where all rest.
    """
    size = len(in_flight)
    turns = [(first + offset) % size for offset in range(size)]
    ready = [index for index in turns if not resting[index]]
    return min(ready, key=lambda index: in_flight[index]) if ready else None


class Router:
    """One worker's way to the replicas; call it with a request.

    A request whose replica dies is sent to another, or waits for one to come back. Asking again
    is safe: the request carries its seed, so the answer is the same one.

    Raises (when called):
        FatalPolicyError: every replica is gone for good, or none answered for `patience_s`.
    """

    def __init__(self, replicas: Sequence[Any], first: int, patience_s: float) -> None:
        self._replicas = list(replicas)
        self._in_flight = [0] * len(self._replicas)
        self._rested_until = [0.0] * len(self._replicas)
        self._gone: dict[int, str] = {}
        self._next = first
        self._patience_s = patience_s

    async def __call__(self, request: GenerationRequest) -> Completion:
        cause = "none was tried"
        deadline = time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            index = self._pick()
            if index is None:
                if len(self._gone) == len(self._replicas):
                    raise FatalPolicyError(f"every replica is gone: {self._gone[0]}")
                await asyncio.sleep(_PAUSE_S)
                continue
            try:
                async with asyncio.timeout(self._patience_s / _ATTEMPTS):
                    return await self._ask(index, request)
            except TimeoutError:
                cause = f"replica {index} is silent"
                self._rested_until[index] = time.monotonic() + _PAUSE_S
            except ActorDiedError as error:
                self._gone[index] = cause = root_cause(error)
            except RayActorError as error:
                cause = root_cause(error)
                self._rested_until[index] = time.monotonic() + _PAUSE_S
        raise FatalPolicyError(f"no replica answered for {self._patience_s:.0f} s: {cause}")

    def _pick(self) -> int | None:
        now = time.monotonic()
        resting = [
            index in self._gone or until > now for index, until in enumerate(self._rested_until)
        ]
        index = choose(self._in_flight, resting, self._next)
        if index is not None:
            self._next = (index + 1) % len(self._replicas)
        return index

    async def _ask(self, index: int, request: GenerationRequest) -> Completion:
        self._in_flight[index] += 1
        try:
            completion: Completion = await self._replicas[index].generate.remote(request)
        except RayTaskError as error:
            raise own_cause(error) from None
        finally:
            self._in_flight[index] -= 1
        return completion
