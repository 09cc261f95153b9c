"""Play of policies whose checkpoints are gone: kept, and kept apart.

A run that lost its last checkpoints makes versions of the same numbers anew. What the lost ones
played would be taken for theirs.

    traces/abandoned/1/{turns,episodes}/part-NAME.parquet      2, 3, ...: what was lost later
"""

import contextlib
import os
from pathlib import Path

import pyarrow.parquet as pq

from cluster.traces import UNREADABLE


def set_aside(folder: Path, version: int) -> list[str]:
    """Move parts with play by policies after `version` to folder/abandoned/N; returns their names.

    Only while nobody writes to the folder. A part that can't be read stays: nobody else can.
    """
    names = [path.name for path in sorted((folder / "turns").glob("part-*.parquet"))]
    later = [name for name in names if _newest(folder / "turns" / name) > version]
    past = folder / "abandoned"
    number = 1 + len(list(past.iterdir())) if past.exists() else 1
    for name in later:
        for kind in ("episodes", "turns"):  # without the first it is not committed
            target = past / str(number) / kind / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.replace(folder / kind / name, target)
    return later


def _newest(turns: Path) -> int:
    try:
        versions = pq.read_table(turns, columns=["version"])["version"]
    except UNREADABLE:
        return 0
    return max(versions.drop_null().to_pylist(), default=0)
