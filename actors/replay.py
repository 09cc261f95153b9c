"""Play a recorded episode again, from its seed and actions, and check that it is the same game."""

from collections.abc import Iterator
from typing import Final

from actors.game import Game, Step, encode_png
from actors.rewards import Rewards
from cluster.errors import TraceError
from cluster.exports.moment import Moment
from cluster.types import Observation, Trajectory, Turn
from configs.play import EnvConfig
from configs.rewards import RewardConfig

_COMPARED: Final = tuple(name for name in Observation.__slots__ if name != "daylight")
"""Daylight is left out: it is a cosine, whose last bit may differ between processors."""


def replay(trajectory: Trajectory, size: int) -> Iterator[Moment]:
    """Every moment of the episode, the one before the first step included.

    Args:
        trajectory: what was played.
        size: width and height of the frames, in pixels.

    Raises:
        TraceError: the game comes out differently; names the first difference.
    """
    game, rewards = _start(trajectory)
    yield Moment(
        frame=game.draw(size),
        observation=game.observe(),
        turn=None,
        action="",
        reward=0.0,
        unlocked=(),
    )
    for turn in trajectory.turns:
        _check_observation(trajectory, turn, game)
        for index, step in _steps(trajectory, turn, game, rewards):
            yield Moment(
                frame=game.draw(size),
                observation=game.observe(),
                turn=turn,
                action=turn.executed[index],
                reward=turn.rewards[index],
                unlocked=step.unlocked,
            )


def redraw(trajectory: Trajectory, size: int) -> Iterator[bytes]:
    """The PNG of every decision, `size` pixels wide and high.

    Raises:
        TraceError: the game comes out differently; names the first difference.
    """
    game, rewards = _start(trajectory)
    for turn in trajectory.turns:
        _check_observation(trajectory, turn, game)
        yield encode_png(game.draw(size))
        for _ in _steps(trajectory, turn, game, rewards):
            pass


def _start(trajectory: Trajectory) -> tuple[Game, Rewards]:
    env = dict(trajectory.env)
    env.pop("bad_call_penalty", None)
    # Traces from before there was a choice do not name it: theirs is the default.
    reward = env.pop("reward", {})
    try:
        game = Game(EnvConfig.model_validate(env), trajectory.spec.seed)
        return game, Rewards(RewardConfig.model_validate(reward))
    except ValueError as error:
        raise TraceError(
            f"{trajectory.spec.id}: its settings {trajectory.env} make no game"
        ) from error


def _check_observation(trajectory: Trajectory, turn: Turn, game: Game) -> None:
    seen = game.observe()
    for name in _COMPARED:
        recorded, found = getattr(turn.observation, name), getattr(seen, name)
        if recorded != found:
            raise _difference(trajectory, turn, f"{name} is {found}, recorded {recorded}")


def _steps(
    trajectory: Trajectory, turn: Turn, game: Game, rewards: Rewards
) -> Iterator[tuple[int, Step]]:
    for index, action in enumerate(turn.executed):
        step = game.step(action)
        where = f"action {index} ({action})"
        reward = rewards.of(step, index)
        if reward != turn.rewards[index]:
            what = f"{where} earns {reward}, recorded {turn.rewards[index]}"
            raise _difference(trajectory, turn, what)
        unlocked = tuple(name for at, name in turn.unlocked if at == index)
        if step.unlocked != unlocked:
            what = f"{where} unlocks {step.unlocked}, recorded {unlocked}"
            raise _difference(trajectory, turn, what)
        yield index, step


def _difference(trajectory: Trajectory, turn: Turn, what: str) -> TraceError:
    return TraceError(
        f"{trajectory.spec.id} does not play out as recorded: in decision {turn.index}, {what}"
    )
