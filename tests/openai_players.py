"""Players and prompts of a faulty server, for the tests of the OpenAI path."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from actors.policies.openai import OpenAIClient, OpenAIPolicy
from cluster.types import Completion, EpisodeSpec, Prompt
from configs.player import OpenAIPlayer
from tests.builders import START

KEY: Final = f"sk-test-{secrets.token_hex(8)}"
KEY_ENV: Final = "PICKAXE_TEST_KEY"
MAX_ACTIONS: Final = 3


def player(base_url: str, **fields: Any) -> OpenAIPlayer:
    values = {"model": "gpt-5-mini", "api_key_env": KEY_ENV, "max_retries": 2, **fields}
    return OpenAIPlayer(kind="openai", base_url=base_url, **values)


def prompt(text: str = "Call interact_many.", images: tuple[bytes, ...] = ()) -> Prompt:
    return Prompt(
        system="You play Crafter.",
        text=text,
        images=images,
        observation=START,
        spec=EpisodeSpec(seed=0),
        turn=0,
    )


async def no_wait(seconds: float) -> None:
    """A back-off that takes no time."""
    await asyncio.sleep(0)


@asynccontextmanager
async def client(base_url: str, share: int = 1, **fields: Any) -> AsyncIterator[OpenAIClient]:
    made = OpenAIClient(player(base_url, **fields), share, sleep=no_wait)
    try:
        yield made
    finally:
        await made.close()


async def act(base_url: str, asked: Prompt | None = None, **fields: Any) -> Completion:
    """One decision of a fresh client."""
    async with client(base_url, **fields) as made:
        return await OpenAIPolicy(made, MAX_ACTIONS).act(asked or prompt())
