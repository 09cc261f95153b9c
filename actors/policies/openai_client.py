"""One worker's access to an OpenAI-compatible endpoint: slots, rate, retries, and what it cost.

The retries are ours, not the package's, so that they are bounded, counted and explained.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai

from actors.policies.limits import RateLimit, Sleep, backoff_s
from actors.policies.openai_failures import Failure, no_answer, no_connection, redact, refusal
from actors.policies.openai_wire import (
    BadAnswerError,
    Usage,
    completion_text,
    read_answer,
    read_listing,
)
from cluster.errors import UserError
from cluster.types import Completion
from configs.player import OpenAIPlayer

_Read = TypeVar("_Read")


@dataclass(slots=True)
class Spent:
    """What a client has used so far, answers that were paid for but unusable included."""

    num_requests: int = 0
    """Decisions asked for."""
    num_attempts: int = 0
    """HTTP requests sent for them."""
    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0
    usd: float = 0.0
    """By the configured prices; a discount for cached prompts is not known here."""


class OpenAIClient:
    """One worker's access to the endpoint, shared by all of its episodes.

    Args:
        player: the endpoint and how to ask it.
        share: number of workers among which concurrency and rate are divided.
        sleep: how back-off waits.

    Raises:
        UserError: no usable key or base_url, or fewer slots than workers.
    """

    def __init__(self, player: OpenAIPlayer, share: int, sleep: Sleep = asyncio.sleep) -> None:
        if share > player.max_concurrency:
            raise UserError(
                f"max_concurrency = {player.max_concurrency} can't be divided among {share} "
                "workers: raise it, or start fewer workers"
            )
        self.player = player
        self.spent = Spent()
        self._key = _key(player)
        self._api = openai.AsyncOpenAI(
            api_key=self._key, base_url=_base_url(player), max_retries=0, timeout=None
        )
        self._slots = asyncio.Semaphore(player.max_concurrency // share)
        per_minute = player.requests_per_minute
        self._rate = RateLimit(per_minute / share if per_minute else None)
        self._sleep = sleep

    async def complete(self, body: dict[str, Any]) -> Completion:
        """Send one chat completion request.

        Raises:
            FatalPolicyError: the key, the account or the model is refused.
            PolicyError: the request is refused, or the retries are spent.
        """
        self.spent.num_requests += 1

        async def send() -> str:
            text: str = (await self._api.chat.completions.with_raw_response.create(**body)).text
            return text

        result = await self._ask(send, self._read_completion)
        if isinstance(result, Failure):
            raise result.error()
        return result

    async def list_models(self) -> list[str] | None:
        """What the endpoint says it serves; None where it has no such route.

        Raises:
            PolicyError: as `complete`.
        """

        async def send() -> str:
            return (await self._api.models.with_raw_response.list()).text

        result = await self._ask(send, read_listing)
        if not isinstance(result, Failure):
            return [model.id for model in result.data]
        if result.status in (404, 405):
            return None
        raise result.error()

    async def has_model(self) -> bool:
        """Whether the endpoint knows the model, by a name that its listing may leave out.

        Raises:
            PolicyError: as `complete`.
        """

        async def send() -> str:
            return (await self._api.models.with_raw_response.retrieve(self.player.model)).text

        result = await self._ask(send, str)
        if isinstance(result, Failure) and result.status not in (400, 404, 405):
            raise result.error()
        return not isinstance(result, Failure)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    def _read_completion(self, text: str) -> Completion:
        answer = read_answer(text)
        usage = answer.usage or Usage()
        usd = self._cost_usd(usage)
        self.spent.num_prompt_tokens += usage.prompt_tokens
        self.spent.num_completion_tokens += usage.completion_tokens
        self.spent.usd += usd
        if not answer.choices:
            raise BadAnswerError("the answer has no choices")
        return Completion(
            text=completion_text(answer.choices[0].message),
            finish_reason=answer.choices[0].finish_reason or "",
            temperature=self.player.temperature,
            num_prompt_tokens=usage.prompt_tokens,
            num_completion_tokens=usage.completion_tokens,
            cost_usd=usd,
        )

    def _cost_usd(self, usage: Usage) -> float:
        prompt = usage.prompt_tokens * self.player.usd_per_million_prompt_tokens
        completion = usage.completion_tokens * self.player.usd_per_million_completion_tokens
        return (prompt + completion) / 1e6

    async def _ask(
        self, send: Callable[[], Awaitable[str]], read: Callable[[str], _Read]
    ) -> _Read | Failure:
        """The first success, or the last failure."""
        attempts = 1
        while True:
            result = await self._attempt(send, read)
            if not isinstance(result, Failure) or not result.retry:
                return result
            if attempts > self.player.max_retries:
                return result.after(attempts)
            await self._sleep(backoff_s(attempts, result.retry_after_s))
            attempts += 1

    async def _attempt(
        self, send: Callable[[], Awaitable[str]], read: Callable[[str], _Read]
    ) -> _Read | Failure:
        async with self._slots:
            await self._rate.wait()
            self.spent.num_attempts += 1
            try:
                # Over the whole attempt: a transport's own limit starts anew with every byte.
                async with asyncio.timeout(self.player.timeout_s):
                    return read(await send())
            except TimeoutError:
                return no_answer(self.player)
            except openai.APIStatusError as error:
                return refusal(error, self.player, self._key)
            except openai.APIConnectionError as error:
                return no_connection(error, self.player, self._key)
            except BadAnswerError as error:
                return Failure(cause=f"{self.player.base_url}: {redact(str(error), self._key)}")


def _key(player: OpenAIPlayer) -> str:
    key = os.environ.get(player.api_key_env, "").strip()
    if not key:
        raise UserError(
            f"player {player.name!r} needs a key: set the environment variable {player.api_key_env}"
        )
    # The transport would quote it in its complaint.
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(f"{player.api_key_env} holds characters that no key has: set it again")
    return key


def _base_url(player: OpenAIPlayer) -> str:
    complaint = f"base_url = {player.base_url!r} is no http(s) address"
    try:
        url = urlsplit(player.base_url)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError as error:
        raise UserError(f"{complaint}: {error}") from None
    if not usable:
        raise UserError(complaint)
    return player.base_url
