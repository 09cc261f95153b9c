"""The actor that writes a run's traces: the only process with the folder open for writing."""

from pathlib import Path

from cluster.errors import RunError
from cluster.traces import sweep, write_part
from cluster.types import Trajectory


class TraceWriter:
    """Writes whole parts; what a killed writer left behind is swept away at the start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        sweep(folder)

    def write(self, name: str, *trajectories: Trajectory) -> None:
        """Commit one part. Writing a name again replaces it by itself.

        Raises:
            RunError: the folder can't be written.
        """
        try:
            write_part(self._folder, trajectories, name)
        except OSError as error:
            raise RunError(f"can't write traces to {self._folder}: {error.strerror}") from None
