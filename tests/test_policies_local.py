"""The players that need no model: the teacher's policy and the random one."""

from dataclasses import replace

from actors.parse import parse
from actors.policies.random import RandomPolicy
from actors.policies.scripted import ScriptedPolicy
from cluster.types import EpisodeSpec, ParseOutcome, Policy, Prompt
from configs.player import RandomPlayer, ScriptedPlayer
from tests.builders import START

SPEC = EpisodeSpec(seed=3, sample=1)


async def calls(policy: Policy, num_turns: int, spec: EpisodeSpec = SPEC) -> list[str]:
    """Its answers on an unchanging meadow."""
    texts = []
    for turn in range(num_turns):
        observation = replace(START, step=turn)
        prompt = Prompt(system="", text="", observation=observation, spec=spec, turn=turn)
        texts.append((await policy.act(prompt)).text)
    return texts


def scripted(share: float = 0.0, spec: EpisodeSpec = SPEC) -> ScriptedPolicy:
    player = ScriptedPlayer(kind="scripted", random_action_share=share)
    return ScriptedPolicy(player, max_actions=4, spec=spec)


async def test_the_teacher_reasons_in_one_line_before_its_call() -> None:
    (text,) = await calls(scripted(), num_turns=1)
    assert text.startswith("Goal: ")
    assert text.split("\n")[1] == "<tool_call>"
    assert parse(text, max_actions=4).outcome is ParseOutcome.OK


async def test_the_teacher_repeats_an_episode() -> None:
    assert await calls(scripted(0.5), 30) == await calls(scripted(0.5), 30)


async def test_the_share_of_random_actions_is_kept() -> None:
    texts = await calls(scripted(0.25), num_turns=400)
    lost = sum(not text.startswith("Goal: ") for text in texts)
    # Binomial: 100 expected, standard deviation 8.7.
    assert 65 <= lost <= 135


async def test_a_random_action_comes_alone_and_without_a_reason() -> None:
    for text in await calls(scripted(1.0), num_turns=30):
        assert text.startswith("<tool_call>")
        assert len(parse(text, max_actions=4).actions) == 1


async def test_random_calls_are_legal_and_as_long_as_asked() -> None:
    player = RandomPlayer(kind="random", num_actions=3)
    for text in await calls(RandomPolicy(player, SPEC), num_turns=50):
        assert len(parse(text, max_actions=3).actions) == 3


async def test_random_play_repeats_by_spec_and_differs_between_samples() -> None:
    player = RandomPlayer(kind="random")
    other = EpisodeSpec(seed=3, sample=2)
    first = await calls(RandomPolicy(player, SPEC), 40)
    assert await calls(RandomPolicy(player, SPEC), 40) == first
    assert await calls(RandomPolicy(player, other), 40) != first


async def test_random_play_uses_all_actions_evenly() -> None:
    player = RandomPlayer(kind="random")
    drawn = [parse(text, 1).actions[0] for text in await calls(RandomPolicy(player, SPEC), 1700)]
    counts = [drawn.count(action) for action in set(drawn)]
    # 100 of each expected, standard deviation 9.7.
    assert len(counts) == 17
    assert min(counts) > 55
    assert max(counts) < 145
