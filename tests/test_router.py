"""The router: whom it asks, and what it does when nobody answers."""

import asyncio
from collections.abc import Awaitable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError, ActorUnavailableError

from actors.router import Router, choose
from cluster.errors import FatalPolicyError
from cluster.types import Completion, GenerationRequest

REQUEST = GenerationRequest(
    system="",
    text="",
    images=(),
    max_actions=1,
    temperature=1.0,
    top_p=1.0,
    max_tokens=1,
    seed=0,
    version=0,
)


class Method:
    def __init__(self, answers: list[str | Exception], name: str) -> None:
        self.answers = answers
        self.name = name
        self.num_asked = 0

    def remote(self, request: GenerationRequest) -> Awaitable[Completion]:
        assert request is REQUEST
        self.num_asked += 1
        return self._answer(self.answers.pop(0) if self.answers else self.name)

    async def _answer(self, answer: str | Exception) -> Completion:
        await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise answer
        return Completion(text=answer)


class Fake:
    """A replica's handle that answers with its name, after the given failures."""

    def __init__(self, name: str, *failures: Exception) -> None:
        self.generate = Method(list(failures), name)


def away() -> ActorUnavailableError:
    return ActorUnavailableError("restarting", None)


def test_the_least_loaded_replica_is_chosen() -> None:
    assert choose([3, 1, 2], [False] * 3, first=0) == 1


def test_ties_go_round() -> None:
    assert [choose([0, 0, 0], [False] * 3, first) for first in range(3)] == [0, 1, 2]


def test_a_resting_replica_is_passed_over() -> None:
    assert choose([0, 5], [True, False], first=0) == 1
    assert choose([0, 5], [True, True], first=0) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1), st.integers(0, 9))
def test_the_choice_is_never_busier_than_another(pool: list[tuple[int, bool]], first: int) -> None:
    loads, resting = [load for load, _ in pool], [rests for _, rests in pool]
    chosen = choose(loads, resting, first)
    awake = [load for load, rests in pool if not rests]
    assert (chosen is None) == (not awake)
    if chosen is not None:
        assert loads[chosen] == min(awake)


async def test_a_request_whose_replica_dies_is_sent_to_another() -> None:
    broken, sound = Fake("broken", away()), Fake("sound")
    answer = await Router([broken, sound], first=0, patience_s=5.0)(REQUEST)
    assert answer.text == "sound"
    assert broken.generate.num_asked == 1


async def test_a_request_waits_for_a_replica_to_come_back() -> None:
    only = Fake("only", away())
    answer = await Router([only], first=0, patience_s=5.0)(REQUEST)
    assert answer.text == "only"
    assert only.generate.num_asked == 2


async def test_when_all_are_gone_the_run_is_told_why() -> None:
    gone = Fake("gone", ActorDiedError())
    with pytest.raises(FatalPolicyError, match="every replica is gone"):
        await Router([gone], first=0, patience_s=5.0)(REQUEST)


async def test_patience_ends() -> None:
    never = Fake("never", *[away() for _ in range(100)])
    with pytest.raises(FatalPolicyError, match="no replica answered for 1 s"):
        await Router([never], first=0, patience_s=1.0)(REQUEST)


async def test_requests_spread_over_the_pool() -> None:
    pool = [Fake("a"), Fake("b"), Fake("c")]
    router = Router(pool, first=0, patience_s=5.0)
    await asyncio.gather(*(router(REQUEST) for _ in range(6)))
    assert [fake.generate.num_asked for fake in pool] == [2, 2, 2]
