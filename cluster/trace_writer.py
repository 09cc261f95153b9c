"""The actor that writes a run's traces: the only process with the folder open for writing."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cluster.errors import RunError
from cluster.files import wait_for_lock
from cluster.traces import sweep, write_part
from cluster.types import EpisodeSpec, Trajectory

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Episodes that are to be written together; knows nothing of Ray."""

    name: str
    """A part that is written again replaces the one of its name."""
    specs: tuple[EpisodeSpec, ...]
    trajectories: tuple[Any, ...]
    """ObjectRefs."""


class TraceWriter:
    """Writes whole parts; what a killed writer left behind is swept away at the start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = take(folder)
        sweep(folder)

    def ready(self) -> None:
        """Return once all that was asked before is written."""

    def write(self, name: str, *trajectories: Trajectory) -> None:
        """Commit one part. Writing a name again replaces it by itself.

        Raises:
            RunError: the folder can't be written.
        """
        try:
            write_part(self._folder, trajectories, name)
        except OSError as error:
            raise RunError(f"can't write traces to {self._folder}: {error.strerror}") from None


def take(folder: Path, patience_s: float = _PATIENCE_S) -> IO[str]:
    """Hold the traces until the file is closed or the process ends.

    The actors of a killed run may outlive it by seconds: they are waited for, lest an episode be
    read as missing and then committed after all.

    Raises:
        RunError: another process holds them and does not end.
        OSError: the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return wait_for_lock(folder / ".lock", patience_s)
    except TimeoutError:
        raise RunError(f"another process writes to {folder} and does not end") from None
