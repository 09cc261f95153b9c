"""Traces as PNG files, one per decision: seed_0000/step_000.png is the frame after the reset.

Further plays of the same world go to seed_0000_sample_01, seed_0000_sample_02 and so on.
"""

from collections.abc import Sequence
from pathlib import Path

from cluster.exports.moment import Redraw, frame_size, place_name
from cluster.types import Trajectory


def export_frames(
    trajectory: Trajectory, output: Path, redraw: Redraw, size: int | None = None
) -> int:
    """Write one episode's pictures into a folder of its own under `output`; returns how many.

    Stored pictures are written as they are. Missing ones, and all of them where `size` (pixels)
    is another than theirs, are drawn again.

    Raises:
        TraceError: pictures had to be drawn, and the game came out differently.
        OSError: `output` can't be written.
    """
    frames = _stored(trajectory, size)
    if frames is None:
        frames = list(redraw(trajectory, size or frame_size(trajectory)))
    folder = output / place_name(trajectory)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("step_*.png"):
        stale.unlink()
    for index, frame in enumerate(frames):
        (folder / f"step_{index:03d}.png").write_bytes(frame)
    return len(frames)


def _stored(trajectory: Trajectory, size: int | None) -> Sequence[bytes] | None:
    frames = [turn.frame for turn in trajectory.turns if turn.frame is not None]
    if len(frames) < len(trajectory.turns):
        return None
    if size is not None and any(_width(frame) != size for frame in frames):
        return None
    return frames


def _width(png: bytes) -> int:
    """From the IHDR chunk, which comes first in every PNG."""
    return int.from_bytes(png[16:20], "big")
