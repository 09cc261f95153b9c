"""Export a run's traces.

formats:
  frames  PNG files, one per decision: seed_0000/step_000.png is the frame after the reset.
          Further plays of a world go to seed_0000_sample_01 and so on. Pictures that were not
          recorded, or at another --size, are drawn again by replaying seed and actions.
  sqlite  rollouts.db: sessions, timesteps, messages, events and rewards, each picture once.
  video   seed_0000.gif: every environment step with a caption.
  sft     JSONL and Parquet examples for fine-tuning, made of one or more runs by a configuration:
          python -m jobs.export --format sft configs/cpu/export.toml [--NAME VALUE]...
          (all its settings: python -m jobs.export --format sft --help)

The run is one of jobs.collect, or of jobs.evaluate: then each player gets a folder of its own.
Traces that can't be read or replayed are named, the rest is exported, and the exit status is 1.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jobs.entry import enter

if TYPE_CHECKING:
    from cluster.types import Trajectory


_SFT: Final = "sft"
"""Made by a configuration, in jobs.export_sft; the other formats by the arguments below."""


def main() -> int:
    if _takes_sft(sys.argv):
        from jobs.export_sft import main as export_sft

        return export_sft()
    arguments = _arguments()
    output = arguments.output or default_output(arguments.run_folder, arguments.format)
    is_whole = export(
        arguments.run_folder, arguments.format, output, arguments.episodes, arguments.size
    )
    return int(not is_whole)


def _takes_sft(argv: list[str]) -> bool:
    """Whether format sft is asked for; takes that out of `argv`, the rest is its configuration."""
    for index, argument in enumerate(argv):
        length = 2 if argument == "--format" else 1
        if argument == f"--format={_SFT}" or argv[index : index + length] == ["--format", _SFT]:
            del argv[index : index + length]
            return True
    return False


def default_output(run_folder: Path, name: str) -> Path:
    return run_folder / "exports" / name


def export(
    run_folder: Path,
    name: str,
    output: Path,
    episodes: int | None = None,
    size: int | None = None,
) -> bool:
    """Export each player's traces in format `name`; false if something had to be left out."""
    is_whole = True
    for player, traces in players(run_folder).items():
        job = _Export(output / player, size)
        _run(job, name, traces, episodes)
        is_whole = is_whole and not job.refusals.told
    return is_whole


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run_folder", type=Path, metavar="RUN_FOLDER", help="output folder of collect or evaluate"
    )
    parser.add_argument(
        "--format", choices=sorted([*_FORMATS, _SFT]), required=True, help="see above"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where to [RUN_FOLDER/exports/FORMAT]"
    )
    parser.add_argument(
        "--episodes",
        type=_at_least(1),
        metavar="N",
        help="only the first N of each player, by seed and sample [all]",
    )
    parser.add_argument(
        "--size",
        type=_at_least(36),
        metavar="PX",
        help="pixels to draw frames and videos at [as recorded, else the run's env.size or 64]",
    )
    return parser.parse_args()


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return number


def players(run_folder: Path) -> dict[str, Path]:
    """Traces by the name of the subfolder that their export goes to; '' for no subfolder."""
    from cluster.errors import UserError

    if not run_folder.is_dir():
        raise UserError(f"no folder {run_folder}: give the output folder of a run")
    if (run_folder / "traces").is_dir():
        return {"": run_folder / "traces"}
    players = {path.parent.name: path for path in sorted(run_folder.glob("players/*/traces"))}
    if not players:
        raise UserError(
            f"{run_folder} holds neither traces nor players/NAME/traces: "
            "give the output folder of jobs.collect or jobs.evaluate"
        )
    return players


@dataclass(slots=True)
class Refusals:
    """What could not be read or replayed, each told once."""

    told: list[str] = field(default_factory=list)

    def refuse(self, error: Exception) -> None:
        if str(error) not in self.told:
            self.told.append(str(error))
            print(f"left out: {error}", file=sys.stderr)


@dataclass(slots=True)
class _Export:
    """One player's export under way."""

    output: Path
    size: int | None
    refusals: Refusals = field(default_factory=Refusals)


def _run(export: _Export, name: str, traces: Path, episodes: int | None) -> None:
    import sqlite3

    from cluster.errors import UserError
    from cluster.traces import read_summaries, read_trajectories

    scan = read_summaries(traces)
    for error in scan.refused:
        export.refusals.refuse(error)
    if not scan.summaries:
        if not export.refusals.told:
            raise UserError(f"{traces} holds no finished episode yet")
        return
    ids = {summary.spec.id for summary in scan.summaries[:episodes]}
    try:
        what = _FORMATS[name](export, read_trajectories(traces, ids, export.refusals.refuse))
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"can't write to output {export.output}: {reason}") from error
    print(f"{what}, in {export.output}")


def _frames(export: _Export, trajectories: "Iterable[Trajectory]") -> str:
    from actors.replay import redraw
    from cluster.exports.frames import export_frames

    counts = _each(
        export, trajectories, lambda t: export_frames(t, export.output, redraw, export.size)
    )
    return f"frames: {sum(counts)} of {len(counts)} episode(s)"


def _video(export: _Export, trajectories: "Iterable[Trajectory]") -> str:
    from actors.replay import replay
    from cluster.exports.moment import place_name
    from cluster.exports.video import export_video

    def write(trajectory: "Trajectory") -> int:
        path = export.output / f"{place_name(trajectory)}.gif"
        return export_video(trajectory, path, replay, export.size)

    counts = _each(export, trajectories, write)
    return f"videos: {len(counts)}, {sum(counts)} moment(s)"


def _each(
    export: _Export,
    trajectories: "Iterable[Trajectory]",
    write: "Callable[[Trajectory], int]",
) -> list[int]:
    """Write one after the other; an episode that does not replay is left out."""
    from cluster.errors import TraceError

    counts = []
    for trajectory in trajectories:
        try:
            counts.append(write(trajectory))
        except TraceError as error:
            export.refusals.refuse(error)
    return counts


def _sqlite(export: _Export, trajectories: "Iterable[Trajectory]") -> str:
    from cluster.exports.sqlite import export_sqlite

    num_sessions = export_sqlite(trajectories, export.output / "rollouts.db")
    return f"rollouts.db: {num_sessions} episode(s)"


_FORMATS: Final[dict[str, Callable[[_Export, "Iterable[Trajectory]"], str]]] = {
    "frames": _frames,
    "sqlite": _sqlite,
    "video": _video,
}


if __name__ == "__main__":
    enter(main)
