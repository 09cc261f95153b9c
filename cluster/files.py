"""Files that readers see whole or not at all, and that one process holds at a time."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the path given, beside `path`; it takes `path`'s place at the end.

    After a failure `path` is what it was, and nothing lies beside it.
    """
    beside = path.with_name(f".{path.name}.tmp")
    beside.unlink(missing_ok=True)
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Return once the file, or the folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def wait_for_lock(path: Path, timeout_s: float) -> IO[str]:
    """Hold `path` until the file returned is closed or the process ends.

    Raises:
        TimeoutError: another process holds it, and still does after `timeout_s`.
        OSError: it can't be written.
    """
    lock = path.open("w")
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"another process holds {path}") from None
                time.sleep(0.2)
    except BaseException:
        lock.close()
        raise
