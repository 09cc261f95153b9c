"""From a configured player to policies, one for every episode."""

from collections.abc import Callable

from actors.policies.vllm import Generate, VllmPolicy
from cluster.types import EpisodeSpec, Policy
from configs.player import OpenAIPlayer, RandomPlayer, ScriptedPlayer, VllmPlayer

MakePolicy = Callable[[EpisodeSpec, Callable[[], int]], Policy]
"""For an episode; the second tells, turn by turn, the version a served model is to play with."""
AnyPlayer = VllmPlayer | OpenAIPlayer | ScriptedPlayer | RandomPlayer


def policies_of(player: AnyPlayer, max_actions: int, share: int, generate: Generate) -> MakePolicy:
    """How to make a policy of `player` for an episode.

    Args:
        player: which.
        max_actions: bound of one tool call.
        share: workers among which limits of the run (concurrency, rate) are divided.
        generate: where a served model answers; others don't use it.
    """
    match player:
        case VllmPlayer():
            return lambda spec, version: VllmPolicy(player, max_actions, version, generate)
        case OpenAIPlayer():
            from actors.policies.openai import OpenAIClient, OpenAIPolicy

            client = OpenAIClient(player, share)
            return lambda spec, version: OpenAIPolicy(client, max_actions)
        case ScriptedPlayer():
            from actors.policies.scripted import ScriptedPolicy

            return lambda spec, version: ScriptedPolicy(player, max_actions, spec)
        case RandomPlayer():
            from actors.policies.random import RandomPolicy

            return lambda spec, version: RandomPolicy(player, spec)
