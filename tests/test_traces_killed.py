"""A writer of traces killed at any point: all of a part or nothing, and nothing left behind."""

import signal
import subprocess
import sys
from pathlib import Path

from cluster.traces import read_summaries, read_trajectories, sweep, write_part
from tests.builders import trajectory


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_uncommitted_turns_and_temporary_files_are_swept_and_nothing_else(tmp_path: Path) -> None:
    write_part(tmp_path, [trajectory(0)], "lost")
    write_part(tmp_path, [trajectory(1)], "good")
    orphan = tmp_path / "turns" / "part-lost.parquet"
    (tmp_path / "episodes" / "part-lost.parquet").unlink()
    temporary = tmp_path / "episodes" / ".part-x.parquet.tmp"
    temporary.touch()
    (tmp_path / "turns" / "notes.txt").touch()
    assert sweep(tmp_path) == [temporary, orphan]
    assert files(tmp_path) == [
        "episodes/part-good.parquet",
        "turns/notes.txt",
        "turns/part-good.parquet",
    ]


def test_uncommitted_turns_are_not_read(tmp_path: Path) -> None:
    write_part(tmp_path, [trajectory(0)], "lost")
    write_part(tmp_path, [trajectory(1)], "good")
    (tmp_path / "episodes" / "part-lost.parquet").unlink()
    assert list(read_trajectories(tmp_path)) == [trajectory(1)]
    assert read_summaries(tmp_path).refused == ()


KILLED_AT_EVERY_LINE = """
import os, signal, sys
import pandas  # which pyarrow would import again in every child
from pathlib import Path
import cluster.files as files
import cluster.traces as traces
from tests.builders import trajectory

def kill_at(countdown):
    def trace(frame, event, argument):
        nonlocal countdown
        if frame.f_code.co_filename not in (traces.__file__, files.__file__):
            return None
        countdown -= event == "line"
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    return trace

line, status = 0, signal.SIGKILL
while status == signal.SIGKILL:
    line += 1
    child = os.fork()
    if child == 0:
        sys.settrace(kill_at(line))
        traces.write_part(Path(sys.argv[1]) / str(line), [trajectory(0), trajectory(1)], "p")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
sys.exit(status)
"""


def test_a_writer_killed_at_any_line_leaves_all_of_its_part_or_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED_AT_EVERY_LINE, str(tmp_path)], check=True)
    whole = [trajectory(0), trajectory(1)]
    found = {}
    for folder in tmp_path.iterdir():
        assert read_summaries(folder).refused == ()
        found[int(folder.name)] = list(read_trajectories(folder))
        sweep(folder)
        write_part(folder, whole, "p")
        assert list(read_trajectories(folder)) == whole
        assert files(folder) == ["episodes/part-p.parquet", "turns/part-p.parquet"]
    states = [found[line] for line in sorted(found)]
    assert all(state in ([], whole) for state in states)
    assert len(states) > 20
    assert states[0] == []
    assert states[-1] == whole


def test_a_writer_killed_at_any_moment_loses_no_earlier_part(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from cluster.traces import write_part\n"
        "from tests.builders import trajectory\n"
        "for seed in range(10**6): write_part(Path(sys.argv[1]), [trajectory(seed)]); print(seed)\n"
    )
    command = [sys.executable, "-u", "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        committed = [int(writer.stdout.readline()) for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        committed += [int(line) for line in writer.stdout.readlines()]
    sweep(tmp_path)
    read = [t.spec.seed for t in read_trajectories(tmp_path)]
    assert read in (committed, [*committed, len(committed)])
