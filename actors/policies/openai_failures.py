"""Why an attempt at a remote endpoint failed, in words without the key, and whether to retry."""

import json
from dataclasses import dataclass, replace
from typing import Final

import openai

from actors.policies.limits import parse_retry_after
from cluster.errors import FatalPolicyError, PolicyError
from configs.player import OpenAIPlayer

_RETRIED: Final = frozenset({408, 409, 429})
_FATAL: Final = frozenset({401, 402, 403, 404})
_LONGEST_QUOTE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt. A value, not an exception: none keeps the request's headers alive."""

    cause: str
    retry: bool = True
    fatal: bool = False
    status: int | None = None
    """Of the HTTP answer; None where there was none, or one that was no completion."""
    retry_after_s: float | None = None

    def error(self) -> PolicyError:
        return FatalPolicyError(self.cause) if self.fatal else PolicyError(self.cause)

    def after(self, attempts: int) -> "Failure":
        """The same, as the last of several attempts."""
        return replace(self, cause=f"{self.cause} (attempt {attempts} of {attempts})")


def redact(text: str, key: str) -> str:
    """`text` without the key: some servers echo it in the body of a 401."""
    return text.replace(key, "[key]")


def no_answer(player: OpenAIPlayer) -> Failure:
    return Failure(
        cause=f"{player.base_url} gave no answer within {player.timeout_s:g} s (timeout_s)"
    )


def no_connection(error: openai.APIConnectionError, player: OpenAIPlayer, key: str) -> Failure:
    """Refused, dropped or cut off, with the transport's own word for it."""
    reason = f"{type(error.__cause__).__name__}: {error.__cause__}"
    return Failure(cause=f"no connection with {player.base_url} ({_quote(reason, key)})")


def refusal(error: openai.APIStatusError, player: OpenAIPlayer, key: str) -> Failure:
    """An HTTP status of 4xx or 5xx."""
    status = error.status_code
    # OpenAI's 429 for an account without money; no wait helps.
    broke = error.code == "insufficient_quota"
    says = f"{player.base_url} answered {status}: {_quote(_message(error), key)}"
    return Failure(
        cause=says + _remedy(status, player),
        retry=not broke and (status in _RETRIED or status >= 500),
        fatal=broke or status in _FATAL,
        status=status,
        retry_after_s=parse_retry_after(error.response.headers.get("retry-after")),
    )


def _remedy(status: int, player: OpenAIPlayer) -> str:
    if status in (401, 403):
        return f"; put a key that may use {player.model!r} into {player.api_key_env}"
    if status == 404:
        return f"; set model (now {player.model!r}) or base_url"
    return ""


def _message(error: openai.APIStatusError) -> str:
    """The server's own words out of the shapes that error bodies come in."""
    body = error.body
    if isinstance(body, dict):
        said = body.get("message") or body.get("detail") or body
        return said if isinstance(said, str) else json.dumps(said)
    return str(body or "no message")


def _quote(text: str, key: str) -> str:
    # Redacted before it is cut: half a key is a leak too.
    line = " ".join(redact(text, key).split())
    return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "..."
