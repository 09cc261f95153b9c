"""The OpenAI policy against vLLM's own server: a real endpoint, a real vision-language model."""

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from actors.parse import parse
from actors.policies.openai import OpenAIClient, OpenAIPolicy, check_endpoint
from cluster.errors import FatalPolicyError, PolicyError, UserError
from cluster.types import Completion, ParseOutcome
from tests.openai_players import KEY, KEY_ENV, MAX_ACTIONS, act, client, player, prompt
from tests.running import free_port

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.vision]

MODEL: Final = Path(__file__).parents[1] / "configs" / "models" / "tiny"
SERVED: Final = "tiny"
START_LIMIT_S: Final = 240.0
SETTINGS: Final[dict[str, Any]] = {
    "model": SERVED,
    "max_tokens": 64,
    "temperature": 1.0,
    "timeout_s": 120.0,
    "max_retries": 0,
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    port = free_port()
    with log.open("wb") as out:
        server = subprocess.Popen(
            command(port),
            env={**os.environ, **environment()},
            stdout=out,
            stderr=subprocess.STDOUT,
            # A group of its own, so that the engine's child process can be ended with it.
            start_new_session=True,
        )
    try:
        wait_until_healthy(server, port, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        end_group(server)


def command(port: int) -> list[str]:
    options = {
        "model": str(MODEL),
        "served-model-name": SERVED,
        "host": "127.0.0.1",
        "port": str(port),
        "tool-call-parser": "hermes",
        # Text and pictures in the order sent; vLLM's own guess puts pictures first.
        "chat-template-content-format": "openai",
        "limit-mm-per-prompt": '{"image": 1, "video": 0}',
        "max-model-len": "2048",
        "max-num-seqs": "8",
        "dtype": "float32",
    }
    named = [word for name, value in options.items() for word in (f"--{name}", value)]
    flags = ["--enable-auto-tool-choice", "--enforce-eager"]
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *named, *flags]


def environment() -> dict[str, str]:
    return {
        "VLLM_API_KEY": KEY,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


def wait_until_healthy(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"vLLM's server did not start:\n{log.read_text()[-3000:]}")


def end_group(server: subprocess.Popen[bytes]) -> None:
    """Politely, then not; nothing of the group is left afterwards."""
    for sign, limit_s in ((signal.SIGTERM, 20), (signal.SIGKILL, 20)):
        deadline = time.monotonic() + limit_s
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, sign)
        while members(server.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
    server.wait(timeout=20)
    assert not members(server.pid)


def members(group: int) -> list[int]:
    """Living processes of a process group (a zombie is dead)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def picture(size: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((size, size), 90).convert("RGB").save(file, "PNG")
    return file.getvalue()


async def ask(made: OpenAIClient, image: bytes, times: int) -> list[Completion]:
    policy = OpenAIPolicy(made, MAX_ACTIONS)
    asked = prompt("Call interact_many.", (image,))
    return await asyncio.gather(*(policy.act(asked) for _ in range(times)))


async def test_freely_sampled_answers_reach_the_strict_parser(base_url: str) -> None:
    async with client(base_url, **SETTINGS, tool_choice="auto") as made:
        answers = await ask(made, picture(72), times=4)
    for answer in answers:
        assert answer.finish_reason in ("stop", "length", "tool_calls")
        assert 0 < answer.num_completion_tokens <= SETTINGS["max_tokens"]
        assert parse(answer.text, MAX_ACTIONS).outcome in ParseOutcome


async def test_a_required_call_arrives_in_canonical_form(base_url: str) -> None:
    async with client(base_url, **SETTINGS, tool_choice="required") as made:
        answers = await ask(made, picture(72), times=12)
    # Random weights: some run into the limit within the arguments.
    finished = [answer.text for answer in answers if answer.finish_reason == "tool_calls"]
    assert any(parse(text, MAX_ACTIONS).outcome is not ParseOutcome.NO_CALL for text in finished)
    for text in finished:
        assert text.startswith('<tool_call>\n{"name": "interact_many", "arguments": ')
        assert text.endswith("}\n</tool_call>")


async def test_a_strict_tool_holds_even_random_weights_to_the_schema(base_url: str) -> None:
    # Random weights dawdle: of 240 calls a third took over 64 tokens, and the longest 166.
    settings = {**SETTINGS, "max_tokens": 512, "tool_choice": "required", "strict": True}
    async with client(base_url, **settings) as made:
        answers = await ask(made, picture(72), times=4)
    assert [parse(answer.text, MAX_ACTIONS).outcome for answer in answers] == ["ok"] * 4


async def test_tokens_are_counted_as_the_server_counts_them(base_url: str) -> None:
    async with client(base_url, **{**SETTINGS, "max_tokens": 3}) as made:
        (small,) = await ask(made, picture(72), times=1)
        (large,) = await ask(made, picture(144), times=1)
        spent = made.spent
    # A token is 8 x 8 pixels: 18 x 18 of them against 9 x 9.
    assert large.num_prompt_tokens - small.num_prompt_tokens == 324 - 81
    assert (small.finish_reason, small.num_completion_tokens) == ("length", 3)
    assert spent.num_prompt_tokens == small.num_prompt_tokens + large.num_prompt_tokens
    assert (spent.num_attempts, spent.num_completion_tokens) == (2, 6)


async def test_a_request_that_the_server_refuses_is_told_in_its_words(base_url: str) -> None:
    with pytest.raises(PolicyError, match=r"answered 400: At most 1 image"):
        await act(base_url, prompt("Look.", (picture(72), picture(72))), **SETTINGS)


async def test_the_check_passes_before_the_run(base_url: str) -> None:
    await check_endpoint(player(base_url, model=SERVED))


async def test_a_wrong_key_stops_the_check_and_the_play(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_ENV, "sk-another")
    with pytest.raises(UserError, match=f"answered 401: .* into {KEY_ENV}"):
        await check_endpoint(player(base_url, model=SERVED))
    with pytest.raises(FatalPolicyError, match=f"answered 401: .* into {KEY_ENV}"):
        await act(base_url, **SETTINGS)


async def test_a_missing_model_stops_the_check_and_the_play(base_url: str) -> None:
    with pytest.raises(UserError, match=r"serves no model 'huge': set model to .* \(tiny\)"):
        await check_endpoint(player(base_url, model="huge"))
    with pytest.raises(FatalPolicyError, match=r"answered 404: .*huge"):
        await act(base_url, **{**SETTINGS, "model": "huge"})
