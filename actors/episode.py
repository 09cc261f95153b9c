"""Play one episode: a game, a policy, and the turns between them. Knows nothing of Ray."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from actors.game import Step, encode_png
from actors.parse import Parsed, parse
from actors.prompt import render
from actors.rewards import Rewards
from cluster.errors import FatalPolicyError, PolicyError
from cluster.types import (
    Ending,
    EpisodeSpec,
    Observation,
    ParseOutcome,
    Policy,
    Prompt,
    Trajectory,
    Turn,
)
from configs.play import Interrupt, PlayConfig, PromptConfig


class World(Protocol):
    """What is played: `actors.game.Game`, or a stand-in of a benchmark."""

    def step(self, action: str) -> Step: ...
    def observe(self) -> Observation: ...
    def draw(self, size: int) -> npt.NDArray[np.uint8]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What stays the same for every episode of a run: the rules, and who is playing."""

    player: str
    model: str
    provider: str
    prompt: PromptConfig
    play: PlayConfig
    sees_pictures: bool
    """`prompt.use_vision`, decided."""
    frame_size: int
    """`env.size`, decided; pixels."""
    env: dict[str, Any]
    """Stored with each trajectory."""


@dataclass(slots=True)
class _Sofar:
    """A play under way."""

    rewards: Rewards
    turns: list[Turn] = field(default_factory=list)
    ending: Ending | None = None
    error: str = ""


async def play(
    spec: EpisodeSpec,
    make_world: Callable[[int], World],
    policy: Policy,
    table: Table,
    on_turn: Callable[[Turn], None] = lambda turn: None,
) -> Trajectory:
    """Play `spec` to its end; `on_turn` is told of every decision.

    A policy's failure ends the play and is recorded in it, with the turns before it kept.

    Raises:
        FatalPolicyError: the policy will not answer again, here or in any other episode.
    """
    started_at, clock = time.time(), time.perf_counter()
    # Making a world takes about a hundred decisions' time; other episodes go on meanwhile.
    world = await asyncio.to_thread(make_world, spec.seed)
    sofar = _Sofar(Rewards(table.play.reward))
    while sofar.ending is None:
        await _turn(spec, world, policy, table, sofar)
        if sofar.turns:
            on_turn(sofar.turns[-1])
    return Trajectory(
        spec=spec,
        player=table.player,
        model=table.model,
        provider=table.provider,
        turns=tuple(sofar.turns),
        ending=sofar.ending,
        error=sofar.error,
        achievements=world.observe().achievements,
        started_at=started_at,
        duration_s=time.perf_counter() - clock,
        env=table.env,
    )


async def _turn(
    spec: EpisodeSpec, world: World, policy: Policy, table: Table, sofar: _Sofar
) -> None:
    frame = None
    if table.sees_pictures or table.play.record_frames:
        frame = encode_png(world.draw(table.frame_size))
    prompt = _prompt(spec, world.observe(), frame, table, sofar.turns)
    clock = time.perf_counter()
    try:
        completion = await policy.act(prompt)
    except FatalPolicyError:
        raise
    except PolicyError as error:
        sofar.ending, sofar.error = Ending.ERROR, str(error)
        return
    parsed = parse(completion.text, table.prompt.max_actions)
    act_s, clock = time.perf_counter() - clock, time.perf_counter()
    actions = _actions(parsed, table.play)
    deed = _carry_out(world, actions, table.play.interrupts, sofar.rewards)
    sofar.turns.append(
        Turn(
            index=prompt.turn,
            observation=prompt.observation,
            frame=frame,
            system=prompt.system,
            text=prompt.text,
            num_images=len(prompt.images),
            completion=completion,
            outcome=parsed.outcome,
            actions=parsed.actions,
            executed=deed.executed,
            rewards=deed.rewards,
            penalty=0.0 if parsed.actions else table.play.bad_call_penalty,
            unlocked=deed.unlocked,
            interrupt=deed.interrupt,
            act_s=act_s,
            env_s=time.perf_counter() - clock,
        )
    )
    sofar.ending = _ending(sofar.turns, parsed, table.play)
    await asyncio.sleep(0)


def _prompt(
    spec: EpisodeSpec,
    observation: Observation,
    frame: bytes | None,
    table: Table,
    past: Sequence[Turn],
) -> Prompt:
    shown = frame if table.sees_pictures else None
    rendered = render(observation, shown, past, table.prompt)
    return Prompt(
        system=rendered.system,
        text=rendered.text,
        images=rendered.images,
        observation=observation,
        spec=spec,
        turn=len(past),
    )


def _actions(parsed: Parsed, play: PlayConfig) -> Sequence[str]:
    if parsed.outcome is ParseOutcome.OK:
        return parsed.actions
    return ("noop",) if play.on_bad_call == "noop" else ()


@dataclass(frozen=True, slots=True)
class _Deed:
    executed: tuple[str, ...]
    rewards: tuple[float, ...]
    unlocked: tuple[tuple[int, str], ...]
    interrupt: str


def _carry_out(
    world: World, actions: Sequence[str], interrupts: Sequence[Interrupt], rewards: Rewards
) -> _Deed:
    earned: list[float] = []
    unlocked: list[tuple[int, str]] = []
    interrupt = ""
    for index, action in enumerate(actions):
        step = world.step(action)
        earned.append(rewards.of(step, index))
        unlocked.extend((index, name) for name in step.unlocked)
        interrupt = _interrupt(step, interrupts)
        if interrupt:
            break
    return _Deed(tuple(actions[: len(earned)]), tuple(earned), tuple(unlocked), interrupt)


def _interrupt(step: Step, interrupts: Sequence[Interrupt]) -> str:
    if step.terminated:
        return "death"
    if step.truncated:
        return "time_limit"
    happened = {"damage": step.damaged, "unlock": bool(step.unlocked), "blocked": step.blocked}
    return next((name for name in interrupts if happened[name]), "")


def _ending(turns: Sequence[Turn], parsed: Parsed, play: PlayConfig) -> Ending | None:
    last = turns[-1]
    if last.interrupt == "death":
        return Ending.DEATH
    if last.interrupt == "time_limit":
        return Ending.TIME_LIMIT
    if parsed.outcome is not ParseOutcome.OK and _gives_up(turns, play):
        return Ending.BAD_CALL
    if len(turns) >= play.max_turns:
        return Ending.TURN_LIMIT
    return None


def _gives_up(turns: Sequence[Turn], play: PlayConfig) -> bool:
    """`retry` allows one more try: two bad calls in a row end the play."""
    if play.on_bad_call == "retry":
        return len(turns) > 1 and turns[-2].outcome is not ParseOutcome.OK
    return play.on_bad_call == "end"
