"""Remote models behind any OpenAI-compatible endpoint: the policy, and a check before the run."""

from typing import Final

from actors.policies.openai_client import OpenAIClient
from actors.policies.openai_wire import request_body
from cluster.errors import FatalPolicyError, PolicyError, UserError
from cluster.types import Completion, Prompt
from configs.player import OpenAIPlayer

__all__ = ["OpenAIClient", "OpenAIPolicy", "check_endpoint"]

_PREFLIGHT: Final = {"max_retries": 1, "timeout_s": 15.0}


class OpenAIPolicy:
    """One episode's player: asks the remote model for each decision on its own."""

    def __init__(self, client: OpenAIClient, max_actions: int) -> None:
        self._client = client
        self._max_actions = max_actions

    async def act(self, prompt: Prompt) -> Completion:
        """Answer one decision.

        Raises:
            FatalPolicyError: the key, the account or the model is refused.
            PolicyError: the request is refused, or the retries are spent.
        """
        body = request_body(self._client.player, prompt, self._max_actions)
        return await self._client.complete(body)


async def check_endpoint(player: OpenAIPlayer) -> None:
    """Ask the endpoint for its models before anything starts. Spends no tokens.

    Raises:
        UserError: unreachable, key refused, or no such model; says what to set.
    """
    client = OpenAIClient(player.model_copy(update=_PREFLIGHT), share=1)
    try:
        names = await client.list_models()
        # Gemini lists `models/gemini-2.5-flash` and takes the bare name.
        listed = names is None or {player.model, f"models/{player.model}"} & set(names)
        missing = not listed and not await client.has_model()
    except PolicyError as error:
        remedy = "" if isinstance(error, FatalPolicyError) else "; check base_url"
        raise UserError(f"player {player.name!r}: {error}{remedy}") from None
    finally:
        await client.close()
    if missing:
        some = ", ".join(sorted(names or [])[:8]) or "none"
        raise UserError(
            f"player {player.name!r}: {player.base_url} serves no model {player.model!r}: "
            f"set model to one that it serves ({some})"
        )
