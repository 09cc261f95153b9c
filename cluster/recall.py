"""Plays of an earlier start, taken from the traces back into the object store."""

import asyncio
from pathlib import Path
from typing import Any

import ray

from cluster.credit import Played, credit_of
from cluster.errors import TraceError
from cluster.traces import read_part
from cluster.types import EpisodeSpec

Recalled = dict[EpisodeSpec, tuple[Played, Any]]
"""What a worker would return of each: the second is an ObjectRef, owned by this process."""


async def recall(folder: Path, name: str) -> Recalled:
    """The episodes of a part; none where it is not there or can't be read."""
    return await asyncio.to_thread(_recall, folder, name)


def _recall(folder: Path, name: str) -> Recalled:
    try:
        trajectories = read_part(folder, name)
    except TraceError:
        return {}  # it is replaced by being played again
    return {one.spec: (Played(one.summary(), credit_of(one)), ray.put(one)) for one in trajectories}
