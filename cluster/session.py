"""The one place that connects to Ray, and leaves it clean."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import ray
from ray._private import services
from ray._private.authentication import authentication_token_setup
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # a compiled module

from cluster.errors import UserError
from cluster.placement import Node

_REACH_S = 10.0


class Reached(Protocol):
    """As much of a run's `cluster` section as says which Ray to use."""

    @property
    def address(self) -> str: ...


@contextlib.contextmanager
def connect(config: Reached) -> Iterator[None]:
    """A Ray to run on, as `cluster.address` says; one inside another is the same one.

    On leaving, actors and placement groups of this driver are gone; a Ray of our own is stopped.

    Raises:
        UserError: the cluster that was asked for can't be reached, or refuses us.
    """
    if ray.is_initialized():
        yield
        return
    address = None if config.address == "auto" else config.address
    try:
        # None is as good as a string, whatever the annotation says: it finds what `ray start` did.
        bootstrap = services.canonicalize_bootstrap_address(address)  # type: ignore[arg-type]
        if bootstrap is not None:
            _check_reachable(bootstrap)
            _match_auth(bootstrap)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(_why(config.address, error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(bootstrap: str) -> None:
    """Ray itself would try for most of a minute before it says so."""
    host, port = bootstrap.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=_REACH_S):
        pass


def _match_auth(bootstrap: str) -> None:
    """Present this machine's token to a cluster that wants one, unless RAY_AUTH_MODE decides.

    Ray 2.60 gives a cluster of its own a token and leaves it in ~/.ray; from then on `ray start`
    wants it, while a cluster started before does not, and a client in the wrong mode is refused
    or, worse, gets no workers. Ray has no public way to ask which it is.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    try:
        GcsClient(address=bootstrap)
    except ray.exceptions.AuthenticationError:
        authentication_token_setup._enable_token_auth()
    else:
        os.environ["RAY_AUTH_MODE"] = "disabled"


def _why(address: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    if "auth" in text.lower():
        return (
            f"Ray at {address!r} refused us: export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or "
            f"~/.ray/auth_token) with the cluster's token, or RAY_AUTH_MODE=disabled if it has none"
        )
    return f"can't reach Ray at cluster.address {address!r}: {text[:200]}"


def nodes() -> list[Node]:
    """What each living node has free now."""
    # Ray has no public call for what is free on each node.
    free = ray._private.state.available_resources_per_node()
    return [
        Node(
            name=node["NodeManagerHostname"] + "/" + node["NodeID"][:6],
            cpus=free.get(node["NodeID"], {}).get("CPU", 0.0),
            gpus=free.get(node["NodeID"], {}).get("GPU", 0.0),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def check_output(output: str) -> None:
    """Refuse an output that would be lost with Ray's copy of the working folder.

    Raises:
        UserError: a relative path, inside a job of `ray job submit`.
    """
    if "runtime_resources" in Path.cwd().parts and not Path(output).is_absolute():
        raise UserError(
            f"output {output!r} is relative to Ray's own copy of the working folder and would be "
            "lost with it: give an absolute path"
        )
