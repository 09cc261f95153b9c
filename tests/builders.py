"""Turns and trajectories for tests: set by hand, or really played."""

import random
from typing import Any, Final

from cluster.names import ACTIONS, ITEMS
from cluster.types import (
    Completion,
    Ending,
    EpisodeSpec,
    Observation,
    ParseOutcome,
    Trajectory,
    Turn,
)

START: Final = Observation(
    step=0,
    length=300,
    view=tuple(tuple("grass" for _ in range(9)) for _ in range(7)),
    inventory={item: 9 if item in ("health", "food", "drink", "energy") else 0 for item in ITEMS},
    facing=(0, 1),
    displacement=(0, 0),
    sleeping=False,
    daylight=1.0,
    achievements=(),
)


def turn(index: int = 0, **facts: Any) -> Turn:
    """A decision to walk right one step; `facts` replace fields."""
    values: dict[str, Any] = {
        "index": index,
        "observation": START,
        "frame": None,
        "system": "You play Crafter.",
        "text": f"Decision {index}.",
        "num_images": 0,
        "completion": Completion(text='<tool_call>\n{"name": "interact_many"}\n</tool_call>'),
        "outcome": ParseOutcome.OK,
        "actions": ("move_right",),
        "executed": ("move_right",),
        "rewards": (0.0,),
        "penalty": 0.0,
        "unlocked": (),
        "interrupt": "",
        "act_s": 0.25,
        "env_s": 0.5,
    }
    return Turn(**{**values, **facts})


def trajectory(seed: int = 0, sample: int = 0, num_turns: int = 2, **facts: Any) -> Trajectory:
    """A walk to the right; `facts` replace fields."""
    values: dict[str, Any] = {
        "spec": EpisodeSpec(seed=seed, sample=sample),
        "player": "tester",
        "model": "by-hand",
        "provider": "nobody",
        "turns": tuple(turn(index) for index in range(num_turns)),
        "ending": Ending.TURN_LIMIT,
        "started_at": 1_700_000_000.0,
        "duration_s": 1.5,
        "env": {"length": 300},
    }
    return Trajectory(**{**values, **facts})


def played(
    seed: int, num_turns: int, num_actions: int = 2, frame_size: int | None = None
) -> Trajectory:
    """Random actions in the real game."""
    from actors.game import Game, encode_png
    from configs.play import EnvConfig

    config = EnvConfig()
    game, choices = Game(config, seed), random.Random(seed)
    turns: list[Turn] = []
    while len(turns) < num_turns:
        observation = game.observe()
        frame = None if frame_size is None else encode_png(game.draw(frame_size))
        actions = tuple(choices.choice(ACTIONS) for _ in range(num_actions))
        steps = []
        for action in actions:
            steps.append(game.step(action))
            if steps[-1].terminated:
                break
        turns.append(
            turn(
                len(turns),
                observation=observation,
                frame=frame,
                num_images=0 if frame is None else 1,
                actions=actions,
                executed=actions[: len(steps)],
                rewards=tuple(step.reward for step in steps),
                unlocked=tuple((i, name) for i, s in enumerate(steps) for name in s.unlocked),
                interrupt="death" if steps[-1].terminated else "",
            )
        )
        if steps[-1].terminated:
            break
    return trajectory(
        seed,
        turns=tuple(turns),
        ending=Ending.DEATH if turns[-1].interrupt else Ending.TURN_LIMIT,
        achievements=game.observe().achievements,
        env=config.model_dump(mode="json"),
    )
