"""What calls of other actors end in, in our own words."""

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from cluster.errors import PickaxeError, RunError


def own_cause(error: RayTaskError) -> BaseException:
    """Pickaxe's own failure behind a failed call, else the call's failure as it is.

    Without Ray's copy of the remote traceback: such a text is shown and stored as a cause.
    """
    return error.cause if isinstance(error.cause, PickaxeError) else error


def root_cause(error: RayError) -> str:
    """What an actor died of, in one line: Ray's own text goes over many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if "Error" in line.split(":")[0]]
    return (causes or lines or [type(error).__name__])[-1]


def wait_until_ready(actors: Sequence[Any], what: str, timeout_s: float) -> None:
    """Wait for the `ready` of every actor; `what` is what one of them is called.

    Raises:
        RunError: one did not start; says why.
    """
    try:
        ray.get([actor.ready.remote() for actor in actors], timeout=timeout_s)
    except GetTimeoutError:
        raise RunError(f"the {what}s were not ready after {timeout_s:g} s") from None
    except RayActorError as error:
        raise RunError(f"a {what} did not start: {root_cause(error)}") from None
