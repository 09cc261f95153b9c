"""The episode loop with stand-ins that are worked by hand."""

import numpy as np
import pytest

from actors.episode import Table, play
from actors.game import Step
from actors.tool import render_call
from cluster.errors import FatalPolicyError, PolicyError
from cluster.names import ITEMS
from cluster.types import (
    Completion,
    Ending,
    EpisodeSpec,
    Observation,
    ParseOutcome,
    Prompt,
    Trajectory,
)
from configs.play import PlayConfig, PromptConfig
from tests.worlds import QUIET, step

SPEC = EpisodeSpec(seed=7, sample=1)


class Meadow:
    """A world that does what its list of steps says, and refuses to go on after its end."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.taken: list[str] = []
        self.looks = 0

    def step(self, action: str) -> Step:
        assert not (self.taken and self._last().terminated), "stepped after death"
        self.taken.append(action)
        return self._last()

    def _last(self) -> Step:
        return self.steps[len(self.taken) - 1] if len(self.taken) <= len(self.steps) else QUIET

    def observe(self) -> Observation:
        unlocked = [name for step in self.steps[: len(self.taken)] for name in step.unlocked]
        row = ("grass",) * 9
        return Observation(
            step=len(self.taken),
            length=100,
            view=(row, row, row, (*("grass",) * 4, "player", *("grass",) * 4), row, row, row),
            inventory=dict.fromkeys(ITEMS, 0),
            facing=(0, 1),
            displacement=(0, 0),
            sleeping=False,
            daylight=1.0,
            achievements=tuple(unlocked),
        )

    def draw(self, size: int) -> np.ndarray:
        self.looks += 1
        return np.zeros((size, size, 3), np.uint8)


class Says:
    """A policy that says the given texts in turn, then one noop for ever."""

    def __init__(self, *texts: str | Exception) -> None:
        self.texts = list(texts)
        self.prompts: list[Prompt] = []

    async def act(self, prompt: Prompt) -> Completion:
        self.prompts.append(prompt)
        answer = self.texts.pop(0) if self.texts else render_call(["noop"])
        if isinstance(answer, Exception):
            raise answer
        return Completion(text=answer)


def table(*, sees: bool = False, prompt: PromptConfig | None = None, **rules: object) -> Table:
    return Table(
        player="someone",
        model="none",
        provider="test",
        prompt=prompt or PromptConfig(),
        play=PlayConfig.model_validate({"record_frames": False, "max_turns": 3, **rules}),
        sees_pictures=sees,
        frame_size=18,
        env={},
    )


async def played(world: Meadow, policy: Says, rules: Table) -> Trajectory:
    return await play(SPEC, lambda seed: world, policy, rules)


async def test_an_action_list_stops_at_death() -> None:
    world = Meadow([QUIET, step(terminated=True, reward=-0.1)])
    ended = await played(world, Says(render_call(["do", "do", "do"])), table())
    assert world.taken == ["do", "do"]
    assert ended.ending is Ending.DEATH
    assert ended.turns[0].actions == ("do", "do", "do")
    assert ended.turns[0].executed == ("do", "do")
    assert ended.turns[0].rewards == (0.0, -0.1)


async def test_the_time_limit_is_not_death() -> None:
    ended = await played(Meadow([step(truncated=True)]), Says(), table())
    assert ended.ending is Ending.TIME_LIMIT


async def test_the_turn_limit_ends_the_play() -> None:
    ended = await played(Meadow([]), Says(), table(max_turns=2))
    assert ended.ending is Ending.TURN_LIMIT
    assert [turn.index for turn in ended.turns] == [0, 1]


@pytest.mark.parametrize(
    ("interrupts", "executed"),
    [(["damage"], 2), (["unlock"], 1), (["blocked"], 3), ([], 4)],
)
async def test_interrupts_are_those_that_were_set(interrupts: list[str], executed: int) -> None:
    steps = [step(unlocked=("wake_up",)), step(damaged=True), step(blocked=True), QUIET]
    ended = await played(
        Meadow(steps), Says(render_call(["noop"] * 4)), table(interrupts=interrupts, max_turns=1)
    )
    assert len(ended.turns[0].executed) == executed
    assert ended.turns[0].interrupt == (interrupts[0] if interrupts else "")


async def test_unlocks_are_recorded_at_their_step() -> None:
    world = Meadow([QUIET, step(unlocked=("eat_cow", "wake_up"), reward=1.0)])
    ended = await played(world, Says(render_call(["noop", "do"])), table(max_turns=1))
    assert ended.turns[0].unlocked == ((1, "eat_cow"), (1, "wake_up"))
    assert ended.achievements == ("eat_cow", "wake_up")
    assert ended.total_reward == 1.0


async def test_a_decision_earns_the_configured_reward_of_each_step() -> None:
    wood = {"unlocked": ("collect_wood",), "earned": ("collect_wood",), "reward": 1.0}
    world = Meadow([step(health_change=-2, reward=-0.2), step(**wood), step(), step(**wood)])
    reward = {"strategy": "achievements", "achievement_weights": {"collect_wood": 3.0}}
    ended = await played(
        world,
        Says(render_call(["do", "do"])),
        table(reward=reward | {"health_weight": 0.5}, max_turns=3),
    )
    assert [turn.rewards for turn in ended.turns] == [(-1.0, 3.0), (0.0,), (3.0,)]
    assert [turn.reward for turn in ended.turns] == [2.0, 0.0, 3.0]
    assert ended.total_reward == 5.0


async def test_the_penalty_of_a_bad_call_adds_to_the_configured_reward() -> None:
    world = Meadow([step(unlocked=("wake_up",), earned=("wake_up",), reward=1.0)])
    rules = table(max_turns=1, bad_call_penalty=-0.5, reward={"strategy": "consistent", "scale": 4})
    ended = await played(world, Says("hm"), rules)
    assert (ended.turns[0].rewards, ended.turns[0].reward) == ((4.0,), 3.5)


async def test_a_bad_call_costs_a_noop_and_the_penalty() -> None:
    world = Meadow([])
    ended = await played(world, Says("hm"), table(max_turns=1, bad_call_penalty=-0.5))
    assert world.taken == ["noop"]
    assert ended.turns[0].outcome is ParseOutcome.NO_CALL
    assert ended.turns[0].actions == ()
    assert ended.turns[0].reward == -0.5


async def test_a_bad_call_may_be_retried_once_without_a_step() -> None:
    world = Meadow([])
    ended = await played(world, Says("hm", "hm"), table(on_bad_call="retry"))
    assert world.taken == []
    assert ended.ending is Ending.BAD_CALL
    assert len(ended.turns) == 2


async def test_a_good_call_after_a_retry_plays_on() -> None:
    ended = await played(Meadow([]), Says("hm", render_call(["do"])), table(on_bad_call="retry"))
    assert ended.ending is Ending.TURN_LIMIT


async def test_a_bad_call_may_end_the_play() -> None:
    ended = await played(Meadow([]), Says("hm"), table(on_bad_call="end"))
    assert ended.ending is Ending.BAD_CALL
    assert ended.num_env_steps == 0


async def test_a_policy_failure_keeps_what_was_played_and_its_cause() -> None:
    policy = Says(render_call(["do"]), PolicyError("429 five times"))
    ended = await played(Meadow([]), policy, table())
    assert (ended.ending, ended.error) == (Ending.ERROR, "429 five times")
    assert len(ended.turns) == 1


async def test_a_fatal_policy_failure_is_the_runs() -> None:
    with pytest.raises(FatalPolicyError, match="key refused"):
        await played(Meadow([]), Says(FatalPolicyError("key refused")), table())


async def test_no_frame_is_drawn_when_nobody_looks() -> None:
    world = Meadow([])
    await played(world, Says(), table())
    assert world.looks == 0


async def test_a_player_that_sees_gets_the_frame_of_each_decision() -> None:
    policy = Says()
    ended = await played(Meadow([]), policy, table(sees=True, max_turns=2))
    assert [prompt.images for prompt in policy.prompts] == [(turn.frame,) for turn in ended.turns]


async def test_history_frames_are_the_last_ones_oldest_first() -> None:
    policy = Says()
    rules = table(sees=True, prompt=PromptConfig(history_frames=2))
    ended = await played(Meadow([]), policy, rules)
    frames = [turn.frame for turn in ended.turns]
    assert policy.prompts[0].images == (frames[0],)
    assert policy.prompts[2].images == (frames[1], frames[2])
    assert ended.turns[2].num_images == 2


async def test_image_only_sends_recent_actions_but_no_state() -> None:
    policy = Says(render_call(["move_left"]))
    rules = table(sees=True, prompt=PromptConfig(image_only=True))
    await played(Meadow([]), policy, rules)
    assert "move_left" in policy.prompts[1].text
    assert "Inventory" not in policy.prompts[1].text


async def test_the_prompt_names_its_episode_and_turn() -> None:
    policy = Says()
    await played(Meadow([]), policy, table(max_turns=2))
    assert [(prompt.spec, prompt.turn) for prompt in policy.prompts] == [(SPEC, 0), (SPEC, 1)]
