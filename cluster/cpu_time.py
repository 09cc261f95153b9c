"""CPU time of a process and of all that it started, for benchmarks."""

import contextlib

import psutil


class TreeTime:
    """Adds up user and system time below a process. Look often: what a process used between the
    last look and its end is not seen."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._seen: dict[psutil.Process, float] = {}
        """CPU seconds of each process there ever was, as it was last seen."""

    def look(self) -> float:
        """CPU seconds so far, of processes that have ended too.

        Raises:
            psutil.NoSuchProcess: the first of them has ended.
        """
        for process in (self._root, *self._root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._seen[process] = times.user + times.system
        return sum(self._seen.values())
