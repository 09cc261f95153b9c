"""How every job starts and ends: one clear line and an honest exit status."""

import logging
import sys
from collections.abc import Callable

from cluster.errors import PickaxeError, UserError

_INTERRUPTED = 130


def enter(job: Callable[[], int]) -> None:
    """Run a job and exit: 0 done, 1 a part died, 2 bad input, 130 interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        sys.exit(job())
    except UserError as error:
        _leave(f"error: {error}", 2)
    except PickaxeError as error:
        _leave(f"failed: {error}", 1)
    except KeyboardInterrupt:
        _leave("interrupted: what is written stays; the same command continues it", _INTERRUPTED)


def _leave(line: str, status: int) -> None:
    print(" ".join(line.split()), file=sys.stderr, flush=True)
    sys.exit(status)
