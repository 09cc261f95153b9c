"""Made-up prompts, answers and readings in our own words, to fit the tiny model's tokenizer."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from actors.prompt import render
from actors.tool import render_call
from cluster.names import ACHIEVEMENTS, ACTIONS, ITEMS, TILES, VITALS
from cluster.types import Completion, EpisodeSpec, Observation, ParseOutcome, Turn
from configs.play import PromptConfig
from learners.reading import balance_of, reading, sight_of

_SPEC: Final = EpisodeSpec(seed=0)
_FACING: Final = ((-1, 0), (1, 0), (0, -1), (0, 1))
_INTERRUPTS: Final = ("", "", "", "damage", "blocked")
_REASONS: Final = (
    "I need {item}; the nearest {tile} is {n} {direction}.",
    "My {vital} is {n}, so I {action}.",
    "I face {tile}, so I {action}.",
    "{tile} blocks the way {direction}; I go around it.",
    "Next is {achievement}: I have {n} {item}.",
)


def texts(num_prompts: int) -> Iterator[str]:
    """Each prompt's user text and an answer to it, then readings; equal calls give equal texts."""
    rng = np.random.default_rng(0)
    for _ in range(num_prompts):
        settings = PromptConfig(
            map_style="grid" if rng.random() < 0.5 else "words",
            rationale=bool(rng.random() < 0.3),
            max_actions=int(rng.integers(1, 21)),
        )
        past = [_turn(rng) for _ in range(rng.integers(0, 5))]
        yield render(observation(rng), None, past, settings).text
        yield render_call(_actions(rng), _reason(rng) if settings.rationale else "")
    for _ in range(num_prompts // 10):
        yield _reading(rng)


def observation(rng: np.random.Generator) -> Observation:
    """Facts drawn at random, every tile and item as likely as the next."""
    unlocked = rng.random(len(ACHIEVEMENTS)) < 0.3
    return Observation(
        step=int(rng.integers(0, 10_000)),
        length=int(rng.integers(1, 10_001)),
        view=tuple(tuple(str(tile) for tile in rng.choice(TILES, 9)) for _ in range(7)),
        inventory={name: int(rng.integers(0, 10)) for name in ITEMS},
        facing=_FACING[rng.integers(4)],
        displacement=(0, 0),
        sleeping=bool(rng.random() < 0.1),
        daylight=float(rng.random()),
        achievements=tuple(n for n, yes in zip(ACHIEVEMENTS, unlocked, strict=True) if yes),
    )


def _reading(rng: np.random.Generator) -> str:
    sight = sight_of(b"", observation(rng))
    questions = reading(sight, balance_of([sight]), rng)
    return "".join(word for question in questions for word, _ in question)


def _turn(rng: np.random.Generator) -> Turn:
    """As much of a past turn as a prompt reads."""
    actions = _actions(rng)
    outcome = ParseOutcome.OK
    if rng.random() < 0.05:
        outcome = list(ParseOutcome)[rng.integers(1, len(ParseOutcome))]
    return Turn(
        index=0,
        observation=observation(rng),
        frame=None,
        system="",
        text="",
        num_images=0,
        completion=Completion(text=""),
        outcome=outcome,
        actions=actions,
        executed=actions,
        rewards=(),
        penalty=0.0,
        unlocked=((0, str(rng.choice(ACHIEVEMENTS))),) if rng.random() < 0.1 else (),
        interrupt=_INTERRUPTS[rng.integers(len(_INTERRUPTS))],
        act_s=0.0,
        env_s=0.0,
    )


def _actions(rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(str(action) for action in rng.choice(ACTIONS, rng.integers(1, 6)))


def _reason(rng: np.random.Generator) -> str:
    return _REASONS[rng.integers(len(_REASONS))].format(
        item=rng.choice(ITEMS),
        tile=rng.choice(TILES),
        vital=rng.choice(VITALS),
        action=rng.choice(ACTIONS),
        achievement=rng.choice(ACHIEVEMENTS),
        direction=rng.choice(("left", "right", "up", "down")),
        n=rng.integers(0, 10),
    )
