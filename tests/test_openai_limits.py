"""How fast, how often and how patiently the endpoint is asked."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.policies.limits import RateLimit, backoff_s, parse_retry_after
from actors.policies.openai import OpenAIClient, OpenAIPolicy
from cluster.errors import UserError
from tests.faulty_server import FaultyServer, call, error
from tests.openai_players import KEY, KEY_ENV, MAX_ACTIONS, client, player, prompt


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)


async def ask(made: OpenAIClient, num_requests: int) -> None:
    policy = OpenAIPolicy(made, MAX_ACTIONS)
    await asyncio.gather(*(policy.act(prompt()) for _ in range(num_requests)))


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


async def test_six_a_minute_start_ten_seconds_apart() -> None:
    clock = Clock()
    limit = RateLimit(6.0, now=clock.now, sleep=clock.sleep)
    starts = []
    for _ in range(3):
        await limit.wait()
        starts.append(clock.now_s)
    assert starts == [100.0, 110.0, 120.0]


async def test_time_without_requests_is_not_saved_up_for_a_burst() -> None:
    clock = Clock()
    limit = RateLimit(6.0, now=clock.now, sleep=clock.sleep)
    await limit.wait()
    clock.now_s = 500.0
    starts = []
    for _ in range(2):
        await limit.wait()
        starts.append(clock.now_s)
    assert starts == [500.0, 510.0]


async def test_no_rate_means_no_wait() -> None:
    clock = Clock()
    limit = RateLimit(None, now=clock.now, sleep=clock.sleep)
    for _ in range(5):
        await limit.wait()
    assert clock.now_s == 100.0


async def test_the_server_sees_the_rate_of_one_workers_share(server: FaultyServer) -> None:
    # 1200 a minute between two workers: 0.1 s apart for each.
    async with client(server.base_url, share=2, requests_per_minute=1200) as made:
        await ask(made, 4)
    times = [request.at_s for request in server.chats]
    # Four take 0.3 s; half of it allows for the ways to the server on a busy machine.
    assert max(times) - min(times) > 0.15


async def test_the_server_never_sees_more_than_one_workers_slots(server: FaultyServer) -> None:
    server.chat = [call(delay_s=0.05)]
    async with client(server.base_url, share=2, max_concurrency=7) as made:
        await ask(made, 12)
    assert server.most_in_flight == 3


def test_more_workers_than_slots_is_the_users_error(server: FaultyServer) -> None:
    with pytest.raises(UserError, match="max_concurrency = 2 can't be divided among 3 workers"):
        OpenAIClient(player(server.base_url, max_concurrency=2), share=3)


async def test_a_request_that_backs_off_leaves_its_slot_to_others(server: FaultyServer) -> None:
    server.chat = [error(429), call()]
    second_done = asyncio.Event()

    async def until_second_is_done(seconds: float) -> None:
        await second_done.wait()

    made = OpenAIClient(player(server.base_url, max_concurrency=1), 1, until_second_is_done)
    first = asyncio.create_task(ask(made, 1))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await ask(made, 1)
        second_done.set()
        await first
    await made.close()
    assert len(server.chats) == 3


@pytest.mark.parametrize(("header", "waited_s"), [("7", 7.0), ("3600", 60.0), ("-1", 0.0)])
async def test_retry_after_is_honoured_up_to_a_minute(
    server: FaultyServer, header: str, waited_s: float
) -> None:
    server.chat = [error(429, retry_after=header), call()]
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    made = OpenAIClient(player(server.base_url), 1, sleep)
    await ask(made, 1)
    await made.close()
    assert waits == [waited_s]


async def test_waits_between_attempts_double(server: FaultyServer) -> None:
    server.chat = [error(503)] * 3 + [call()]
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    made = OpenAIClient(player(server.base_url, max_retries=3), 1, sleep)
    await ask(made, 1)
    await made.close()
    first, second, third = waits
    assert 0.25 <= first <= 0.5 <= second <= 1.0 <= third <= 2.0


@given(st.integers(min_value=1, max_value=10_000))
def test_no_wait_is_longer_than_eight_seconds(failures: int) -> None:
    assert 0.25 <= backoff_s(failures, None) <= 8.0


def test_workers_that_fail_together_do_not_come_back_together() -> None:
    assert len({backoff_s(3, None) for _ in range(20)}) > 10


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("2.5", 2.5),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, now=lambda: 10.0) == seconds
