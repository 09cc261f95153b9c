"""How fast and how often a remote endpoint is asked: rate limit and back-off. Plain asyncio."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Final

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 8.0
LONGEST_RETRY_AFTER_S: Final = 60.0

Sleep = Callable[[float], Awaitable[object]]


class RateLimit:
    """Requests of one worker, evenly spaced: no burst, so no window holds more than its share."""

    def __init__(
        self,
        per_minute: float | None,
        now: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._gap_s = 60.0 / per_minute if per_minute else 0.0
        self._now = now
        self._sleep = sleep
        self._next_s = -math.inf

    async def wait(self) -> None:
        """Return when the caller's request may be sent."""
        now = self._now()
        start = max(now, self._next_s)
        # Reserved before the sleep: callers that arrive meanwhile queue up behind this one.
        self._next_s = start + self._gap_s
        if start > now:
            await self._sleep(start - now)


def backoff_s(failures: int, retry_after_s: float | None) -> float:
    """Seconds to wait after the `failures`-th failed attempt (1 is the first).

    Doubles from 0.5 s up to 8 s. The lower half of that is fixed and the upper half drawn, so that
    workers which failed together don't come back together. A server's own Retry-After wins, up to
    a minute.
    """
    if retry_after_s is not None:
        return min(retry_after_s, LONGEST_RETRY_AFTER_S)
    # The exponent is bounded because 2.0**1024 overflows.
    longest = min(FIRST_WAIT_S * 2.0 ** min(failures - 1, 10), LONGEST_WAIT_S)
    return longest * random.uniform(0.5, 1.0)


def parse_retry_after(header: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Seconds asked for by a Retry-After header (a number or an HTTP date); None: unusable.

    Source: RFC 9110, section 10.2.3.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - now()
        except ValueError:
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
