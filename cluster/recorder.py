"""Parts of the traces: having them written, whatever dies meanwhile, and taking them back."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import ActorDiedError, ObjectLostError, RayActorError, RayTaskError

from cluster.credit import Played, credit_of
from cluster.errors import RunError, TraceError
from cluster.remote import own_cause, root_cause
from cluster.tasks import Tasks
from cluster.trace_writer import Part
from cluster.traces import read_part
from cluster.types import EpisodeSpec

_RETRY_S: Final = 0.5
"""Between two tries at a writer that is being restarted."""


async def write(writer: Any, part: Part) -> str:
    """Return once the part is durable: ''; or why not, where one of its objects is lost.

    It is safe to ask again: a part that was written after all is overwritten by itself.

    Raises:
        PickaxeError: the writer is gone, or can't write.
    """
    try:
        await _insist(lambda: writer.write.remote(part.name, *part.trajectories))
    except ObjectLostError as error:
        return f"its result was lost: {type(error).__name__}"
    except RayTaskError as error:
        if isinstance(error.cause, ObjectLostError):
            return "its result was lost"
        raise own_cause(error) from None
    return ""


async def _insist(call: Callable[[], Any]) -> None:
    """Call a writer until it has answered; it may be restarted meanwhile."""
    while True:
        try:
            await call()
        except ActorDiedError as error:
            raise RunError(f"the trace writer is gone: {root_cause(error)}") from None
        except RayActorError:
            await asyncio.sleep(_RETRY_S)
        else:
            return


class Recorder:
    """Has parts written beside everything else. Failures end up in `tasks`."""

    def __init__(self, writer: Any, tasks: Tasks, on_end: Callable[[Part, str], None]) -> None:
        """`on_end` is told of a part that is durable and '', or that it can't be and why."""
        self._writer = writer
        self._tasks = tasks
        self._on_end = on_end
        self._writing: dict[asyncio.Task[None], str] = {}

    async def drain(self) -> None:
        """Return once what an earlier process has asked of the writer is done.

        Raises:
            RunError: the writer is gone.
        """
        await _insist(self._writer.ready.remote)

    def record(self, part: Part) -> None:
        """Begin to write; what was asked before under the same name is written before."""
        before = [task for task, name in self._writing.items() if name == part.name]
        task = self._tasks.start(self._record(part, before))
        self._writing[task] = part.name
        task.add_done_callback(self._writing.pop)

    async def _record(self, part: Part, before: Sequence["asyncio.Task[None]"]) -> None:
        if before:
            # A writer that is restarted is asked for both again, and the last one is to stay.
            await asyncio.wait(before)
        self._on_end(part, await write(self._writer, part))

    def __len__(self) -> int:
        """How many parts are not durable yet."""
        return len(self._writing)

    def is_writing(self, names: Iterable[str]) -> bool:
        """Whether one of these parts is not durable yet."""
        return not set(self._writing.values()).isdisjoint(names)

    async def written(self, name: str) -> None:
        """Return once no part of this name is being written any more."""
        while tasks := [task for task, writing in self._writing.items() if writing == name]:
            await asyncio.wait(tasks)

    async def finish(self, timeout_s: float) -> None:
        """Until everything is durable, or for so long."""
        if self._writing:
            await asyncio.wait(self._writing, timeout=timeout_s)


Recalled = dict[EpisodeSpec, tuple[Played, Any]]
"""What a worker would return of each: the second is an ObjectRef, owned by this process."""


async def recall(folder: Path, name: str) -> Recalled:
    """Episodes that an earlier start had written, taken back into the object store.

    Nothing where the part is not there or can't be read.
    """
    return await asyncio.to_thread(_recall, folder, name)


def _recall(folder: Path, name: str) -> Recalled:
    try:
        trajectories = read_part(folder, name)
    except TraceError:
        return {}  # it is replaced by being played again
    return {one.spec: (Played(one.summary(), credit_of(one)), ray.put(one)) for one in trajectories}
