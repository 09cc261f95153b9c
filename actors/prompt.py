"""From a decision's facts to the words and pictures the player is sent. Pure.

The player in the game and the learner at its batches call the same `render`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from actors.state_text import state_text
from cluster.types import Observation, ParseOutcome, Turn
from configs.play import PromptConfig

_RULES: Final = """\
You play Crafter, a survival game on a grid, seen from above with you in the middle.
Goal: unlock as many of the 22 achievements as you can and stay alive.
A move into a free cell steps there; into a blocked cell it only turns you to face it.
do acts on the faced cell: chop tree, mine stone, coal, iron or diamond, drink water, eat cow, \
fight, pick a sapling from grass (1 in 10), eat a ripe plant.
Recipes: table 2 wood; wood pickaxe or sword 1 wood; stone pickaxe or sword 1 wood, 1 stone; \
furnace 4 stone; iron pickaxe or sword 1 wood, 1 coal, 1 iron.
Tools are made next to a table, iron tools next to table and furnace.
Stone and coal need a wood pickaxe, iron a stone pickaxe, diamond an iron pickaxe.
place_stone, place_table, place_furnace and place_plant use the faced cell.
Food, drink and energy fall with time: eat, drink, sleep. Asleep in the open, zombies hit hard.
Never step into lava."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A system message and one user message: text, then pictures, oldest first."""

    system: str
    text: str
    images: tuple[bytes, ...]


def render(
    observation: Observation,
    frame: bytes | None,
    past: Sequence[Turn],
    settings: PromptConfig,
) -> Rendered:
    """Build the request of one decision.

    Args:
        observation: the facts of this decision.
        frame: its PNG; None where the player is sent no pictures.
        past: the turns before this one, oldest first; only the last few are read.
        settings: what to show.

    Raises:
        ValueError: the settings want a picture that was not drawn.
    """
    parts = []
    if not settings.image_only:
        parts.append(state_text(observation, settings.map_style))
    if settings.recent_turns and past:
        parts.append(_recent(past[-settings.recent_turns :]))
    parts.append(_request(settings))
    return Rendered(_RULES, "\n".join(parts), _images(frame, past, settings))


def chat_messages(system: str, text: str, num_images: int) -> list[dict[str, Any]]:
    """A request as a chat template takes it: text, then a placeholder for each picture."""
    parts = [{"type": "text", "text": text}] if text else []
    parts += [{"type": "image"}] * num_images
    return [{"role": "system", "content": system}, {"role": "user", "content": parts}]


def _images(frame: bytes | None, past: Sequence[Turn], settings: PromptConfig) -> tuple[bytes, ...]:
    if frame is None:
        if settings.image_only:
            raise ValueError("image_only without a frame: draw the frame, or send the state text")
        return ()
    earlier = past[-(settings.history_frames - 1) :] if settings.history_frames > 1 else ()
    return (*(turn.frame for turn in earlier if turn.frame is not None), frame)


def _recent(turns: Sequence[Turn]) -> str:
    return "\n".join(["Recent actions, oldest first:", *(_outcome(turn) for turn in turns)])


def _outcome(turn: Turn) -> str:
    if turn.outcome is not ParseOutcome.OK:
        return f"invalid call ({turn.outcome})"
    line = ", ".join(turn.executed)
    if turn.unlocked:
        line += "; unlocked " + ", ".join(name for _, name in turn.unlocked)
    if turn.interrupt in ("damage", "blocked"):
        line += f"; stopped: {turn.interrupt}"
    return line


def _request(settings: PromptConfig) -> str:
    reason = "Give one line of reasoning, then call" if settings.rationale else "Call"
    plural = "action" if settings.max_actions == 1 else f"to {settings.max_actions} actions"
    return f"{reason} interact_many with 1 {plural}."
