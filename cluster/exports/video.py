"""An episode as an animated GIF: every environment step, with a caption of what happened."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from cluster.exports.moment import Moment, Replay, frame_size
from cluster.files import replacing
from cluster.names import ACHIEVEMENTS, VITALS
from cluster.types import Trajectory

STEP_MS: Final = 120
UNLOCK_MS: Final = 1200
_WIDTH: Final = 288
"""Pixels that the picture is scaled up to, at least; the caption needs them."""
_STRIP: Final = 76
_BACKGROUND: Final = (24, 26, 32)
_BRIGHT: Final = (240, 240, 240)
_DIM: Final = (160, 166, 178)
_LOW: Final = (255, 110, 100)
_GOLD: Final = (255, 205, 70)


def export_video(
    trajectory: Trajectory, path: Path, replay: Replay, size: int | None = None
) -> int:
    """Play the episode again and write it as a GIF; returns the number of moments shown.

    Args:
        trajectory: what was played.
        path: the .gif; what was there is replaced.
        replay: plays an episode again.
        size: pixels to draw at; none: the run's own. Small pictures are scaled up.

    Raises:
        TraceError: the game came out differently.
        OSError: `path` can't be written.
    """
    shown = _shown(replay(trajectory, size or frame_size(trajectory)))
    durations = _durations(trajectory)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        next(shown).save(
            beside,
            format="GIF",
            save_all=True,
            append_images=shown,
            duration=durations,
            loop=0,
        )
    return len(durations)


def _durations(trajectory: Trajectory) -> list[int]:
    """Milliseconds of each moment: an unlocked achievement stays long enough to be read."""
    durations = [STEP_MS]
    for turn in trajectory.turns:
        unlocking = {at for at, _ in turn.unlocked}
        durations += [UNLOCK_MS if i in unlocking else STEP_MS for i in range(len(turn.executed))]
    return durations


def _shown(moments: Iterator[Moment]) -> Iterator[Image.Image]:
    total = 0.0
    for moment in moments:
        total += moment.reward
        # Left to itself, GIF's writer looks for the best 256 colours of each picture: that takes
        # ten times as long, and the difference can't be seen.
        yield picture(moment, total).quantize(
            256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
        )


def picture(moment: Moment, total_reward: float) -> Image.Image:
    """One moment and its caption."""
    frame = Image.fromarray(moment.frame)
    factor = -(-_WIDTH // frame.width)
    frame = frame.resize((factor * frame.width, factor * frame.height), Image.Resampling.NEAREST)
    shown = Image.new("RGB", (frame.width, frame.height + _STRIP), _BACKGROUND)
    shown.paste(frame)
    draw = ImageDraw.Draw(shown)
    top, right = frame.height, frame.width - 8
    seen = moment.observation
    action = moment.action.replace("_", " ") or "start"
    draw.text((8, top + 6), action, _BRIGHT, _font(15))
    draw.text((right, top + 8), f"step {seen.step} of {seen.length}", _DIM, _font(12), "ra")
    _vitals(draw, moment, top + 29)
    count = f"{len(seen.achievements)}/{len(ACHIEVEMENTS)}"
    if moment.unlocked:
        draw.rectangle((0, top + 48, frame.width, top + _STRIP), _GOLD)
        new = ", ".join(name.replace("_", " ") for name in moment.unlocked)
        draw.text((8, top + 53), f"unlocked: {new}", _BACKGROUND, _font(14))
        draw.text((right, top + 53), count, _BACKGROUND, _font(14), "ra")
    else:
        reward = f"reward {moment.reward:+.1f}   total {total_reward:.1f}"
        draw.text((8, top + 53), reward, _DIM, _font(12))
        draw.text((right, top + 53), f"achievements {count}", _GOLD, _font(12), "ra")
    return shown


def _vitals(draw: ImageDraw.ImageDraw, moment: Moment, top: int) -> None:
    x = 8.0
    for name in VITALS:
        amount = moment.observation.inventory[name]
        text = f"{name} {amount}"
        draw.text((x, top), text, _LOW if amount <= 3 else _BRIGHT, _font(12))
        x += draw.textlength(text, _font(12)) + 14


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
