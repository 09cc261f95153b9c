"""The OpenAI policy against a server that misbehaves."""

import base64
import io
import json
import logging
import pickle
import traceback
from typing import Any, Final

import pytest
from PIL import Image

from actors.parse import parse
from cluster.errors import FatalPolicyError, PolicyError
from cluster.types import ParseOutcome
from tests.faulty_server import Behaviour, FaultyServer, call, completion, error, words
from tests.openai_players import KEY, KEY_ENV, MAX_ACTIONS, act, client, prompt

ECHO: Final = "you sent {authorization}, which is"
NO_CHOICES: Final = '{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 0}}'

TIMEOUT_S: Final = 1.5
"""For an attempt: far more than a server on this machine needs, however busy it is."""

PASSING: Final = {
    "408": (error(408), "answered 408: as told"),
    "409": (error(409), "answered 409: as told"),
    "429": (error(429), "answered 429: as told"),
    "500": (error(500), "answered 500: as told"),
    "503": (error(503), "answered 503: as told"),
    "slow": (Behaviour(delay_s=5.0), r"no answer within 1.5 s \(timeout_s\)"),
    "dripping": (Behaviour(body=" " * 99, drip_s=0.1), r"no answer within 1.5 s \(timeout_s\)"),
    "cut off": (Behaviour(body=call().body, sent_share=0.5), "RemoteProtocolError: peer closed"),
    "no choices": (Behaviour(body=NO_CHOICES), "the answer has no choices"),
    "torn JSON": (Behaviour(body='{"choices": ['), r"no completion \(not valid JSON\)"),
    "a page": (Behaviour(body="<html>"), r"no completion \(not valid JSON\)"),
    "no message": (Behaviour(body='{"choices": [{}]}'), r"choices\.0\.message: Field required"),
}
"""Failures that another attempt may get past, with their causes."""

FATAL: Final = {
    "401": (error(401), "answered 401: as told; put a key that may use 'gpt-5-mini' into"),
    "402": (error(402), "answered 402: as told"),
    "403": (error(403), "answered 403: as told; put a key"),
    "404": (error(404), "answered 404: as told; set model"),
    "no money": (error(429, code="insufficient_quota"), "answered 429: as told"),
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)


async def test_a_tool_call_becomes_the_canonical_text(server: FaultyServer) -> None:
    server.chat = [call('{"actions": ["do", "noop"]}')]
    answer = await act(server.base_url)
    assert answer.finish_reason == "tool_calls"
    assert parse(answer.text, MAX_ACTIONS).actions == ("do", "noop")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (call('{"actions": ["fly"]}'), ParseOutcome.UNKNOWN_ACTION),
        (call('{"actions": ["do"'), ParseOutcome.BAD_JSON),
        (call(""), ParseOutcome.BAD_JSON),
        (call('{"actions": []}'), ParseOutcome.EMPTY),
        (call('{"actions": ["do", "do", "do", "do"]}'), ParseOutcome.TOO_MANY),
        (call(name="fly"), ParseOutcome.UNKNOWN_TOOL),
        (call(times=2), ParseOutcome.NO_CALL),
        (words("I would chop the tree."), ParseOutcome.NO_CALL),
        (completion({"role": "assistant", "content": None}, "length"), ParseOutcome.NO_CALL),
    ],
)
async def test_what_the_model_gave_is_left_to_the_strict_parser(
    server: FaultyServer, answer: Behaviour, outcome: ParseOutcome
) -> None:
    server.chat = [answer]
    assert parse((await act(server.base_url)).text, MAX_ACTIONS).outcome is outcome
    assert len(server.chats) == 1


async def test_words_before_the_call_are_kept(server: FaultyServer) -> None:
    message = {**json.loads(call().body)["choices"][0]["message"], "content": "A tree."}
    server.chat = [completion(message, "tool_calls")]
    answer = await act(server.base_url)
    assert answer.text.startswith("A tree.\n<tool_call>")
    assert parse(answer.text, MAX_ACTIONS).outcome is ParseOutcome.OK


async def test_all_of_several_calls_are_kept(server: FaultyServer) -> None:
    server.chat = [call(times=3)]
    assert (await act(server.base_url)).text.count("</tool_call>") == 3


@pytest.mark.parametrize("failure", [first for first, _ in PASSING.values()], ids=PASSING)
async def test_another_attempt_gets_past_a_passing_failure(
    server: FaultyServer, failure: Behaviour
) -> None:
    server.chat = [failure, call()]
    answer = await act(server.base_url, timeout_s=TIMEOUT_S)
    assert parse(answer.text, MAX_ACTIONS).outcome is ParseOutcome.OK
    assert len(server.chats) == 2


@pytest.mark.parametrize(("failure", "cause"), PASSING.values(), ids=PASSING)
async def test_spent_retries_name_the_last_cause_and_the_number_of_attempts(
    server: FaultyServer, failure: Behaviour, cause: str
) -> None:
    server.chat = [failure]
    with pytest.raises(PolicyError, match=rf"{cause}.* \(attempt 3 of 3\)$") as caught:
        await act(server.base_url, timeout_s=TIMEOUT_S)
    assert not isinstance(caught.value, FatalPolicyError)
    assert len(server.chats) == 3


@pytest.mark.parametrize(("failure", "cause"), FATAL.values(), ids=FATAL)
async def test_a_refused_key_account_or_model_is_fatal_at_once(
    server: FaultyServer, failure: Behaviour, cause: str
) -> None:
    server.chat = [failure]
    with pytest.raises(FatalPolicyError, match=cause):
        await act(server.base_url)
    assert len(server.chats) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refused_request_is_not_retried(server: FaultyServer, status: int) -> None:
    server.chat = [error(status, "unsupported\n  parameter " + "x" * 500)]
    with pytest.raises(PolicyError) as caught:
        await act(server.base_url)
    assert not isinstance(caught.value, FatalPolicyError)
    assert str(caught.value).startswith(
        f"{server.base_url} answered {status}: unsupported parameter x"
    )
    assert len(str(caught.value)) < 300
    assert len(server.chats) == 1


async def test_an_endpoint_that_is_gone_is_a_policy_error() -> None:
    with FaultyServer() as server:
        gone = server.base_url
    with pytest.raises(PolicyError, match=r"no connection with http.*ConnectError.*3 of 3"):
        await act(gone)


@pytest.mark.parametrize(
    "echo",
    [
        error(401, ECHO + " wrong"),
        error(400, "x" * 180 + ECHO),
        error(503, ECHO + " late"),
        Behaviour(status=403, body='{"detail": ["{authorization}"]}'),
        Behaviour(status=400, body="{authorization}"),
        Behaviour(body='{"choices": "{authorization}"}'),
        Behaviour(body='{"{authorization}'),
    ],
)
async def test_an_echoed_key_is_never_told(
    server: FaultyServer, echo: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    server.chat = [echo]
    caplog.set_level(logging.DEBUG)
    with pytest.raises(PolicyError) as caught:
        await act(server.base_url)
    assert server.chats[0].authorization == f"Bearer {KEY}"
    # Without the frame of this test, which holds the server and what it has seen.
    below = caught.tb.tb_next
    shown = traceback.TracebackException(caught.type, caught.value, below, capture_locals=True)
    told = [str(caught.value), repr(caught.value), caplog.text, *shown.format()]
    assert KEY[:12] not in "".join(told)
    assert KEY.encode() not in pickle.dumps(caught.value)
    assert caught.value.__context__ is None


def body_of(server: FaultyServer) -> dict[str, Any]:
    body: dict[str, Any] = server.chats[0].body
    return body


async def test_a_gpt_5_request_has_no_temperature_and_bounds_completion_tokens(
    server: FaultyServer,
) -> None:
    await act(server.base_url, max_tokens=77)
    body = body_of(server)
    assert body["max_completion_tokens"] == 77
    assert body.keys() == {
        "model",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_completion_tokens",
    }


async def test_an_older_server_is_sent_max_tokens(server: FaultyServer) -> None:
    await act(
        server.base_url,
        max_tokens=77,
        max_tokens_field="max_tokens",
        temperature=0.0,
        tool_choice="auto",
    )
    body = body_of(server)
    assert (body["max_tokens"], body["temperature"], body["tool_choice"]) == (77, 0.0, "auto")
    assert "max_completion_tokens" not in body


@pytest.mark.parametrize(
    ("model", "sent"),
    [("gpt-4.1", True), ("o4-mini", False), ("openai/o3", False), ("Qwen/Qwen3-VL-4B", True)],
)
async def test_parallel_calls_are_switched_off_where_the_model_takes_the_field(
    server: FaultyServer, model: str, sent: bool
) -> None:
    await act(server.base_url, model=model)
    assert ("parallel_tool_calls" in body_of(server)) is sent


async def test_the_one_tool_is_sent_with_its_bound(server: FaultyServer) -> None:
    await act(server.base_url)
    (tool,) = body_of(server)["tools"]
    assert tool["function"]["parameters"]["properties"]["actions"]["maxItems"] == MAX_ACTIONS


@pytest.mark.parametrize("strict", [True, False])
async def test_a_strict_tool_is_sent_only_where_it_is_set(
    server: FaultyServer, strict: bool
) -> None:
    await act(server.base_url, strict=strict)
    (tool,) = body_of(server)["tools"]
    assert tool["function"].get("strict", False) is strict


def png(size: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), (size, 0, 0)).save(file, "PNG")
    return file.getvalue()


async def test_pictures_travel_as_png_data_urls_oldest_first(server: FaultyServer) -> None:
    await act(server.base_url, prompt("Look.", (png(8), png(16))))
    text, *parts = body_of(server)["messages"][1]["content"]
    assert text == {"type": "text", "text": "Look."}
    sizes = []
    for part in parts:
        head, data = part["image_url"]["url"].split(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            assert picture.format == "PNG"
            sizes.append(picture.size)
    assert sizes == [(8, 8), (16, 16)]


async def test_a_prompt_without_pictures_is_plain_text(server: FaultyServer) -> None:
    await act(server.base_url, prompt("Look."))
    assert body_of(server)["messages"] == [
        {"role": "system", "content": "You play Crafter."},
        {"role": "user", "content": "Look."},
    ]


PRICES: Final[dict[str, Any]] = {
    "usd_per_million_prompt_tokens": 2.5,
    "usd_per_million_completion_tokens": 10.0,
}


async def test_an_answer_costs_what_its_tokens_cost(server: FaultyServer) -> None:
    answer = await act(server.base_url, **PRICES)
    assert (answer.num_prompt_tokens, answer.num_completion_tokens) == (1000, 20)
    # 1000 x 2.5e-6 + 20 x 10e-6
    assert answer.cost_usd == pytest.approx(0.0027)


async def test_the_ledger_counts_paid_answers_that_were_unusable_too(
    server: FaultyServer,
) -> None:
    server.chat = [error(500), Behaviour(body=NO_CHOICES), call(), call()]
    async with client(server.base_url, **PRICES) as made:
        for _ in range(2):
            await made.complete({"model": "m", "messages": []})
        spent = made.spent
    assert (spent.num_requests, spent.num_attempts) == (2, 4)
    assert (spent.num_prompt_tokens, spent.num_completion_tokens) == (2007, 40)
    # 2 x 0.0027 + 7 x 2.5e-6
    assert spent.usd == pytest.approx(0.0054175)


async def test_a_server_that_counts_no_tokens_costs_nothing(server: FaultyServer) -> None:
    server.chat = [completion({"content": "hm"}, "stop", usage=None)]
    answer = await act(server.base_url, **PRICES)
    assert (answer.num_prompt_tokens, answer.cost_usd) == (0, 0.0)
