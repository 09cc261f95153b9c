"""Run jobs as people do, against a real Ray."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
_START_S = 90.0


def job_command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"jobs.{name}", *arguments]


def run_job(
    name: str, *arguments: str, env: dict[str, str] | None = None, timeout_s: float = 240.0
) -> "subprocess.CompletedProcess[str]":
    """A job, from start to exit."""
    return subprocess.run(
        job_command(name, *arguments),
        cwd=ROOT,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


@contextlib.contextmanager
def job(
    name: str, *arguments: str, env: dict[str, str] | None = None
) -> "Iterator[subprocess.Popen[str]]":
    """A job under way, which the test may kill."""
    process = subprocess.Popen(
        job_command(name, *arguments),
        cwd=ROOT,
        env=os.environ | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(what: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Ask until the answer is true.

    Raises:
        TimeoutError: it never was.
    """
    deadline = time.monotonic() + timeout_s
    is_over = False
    while not is_over:
        is_over = time.monotonic() > deadline  # before the look: where this process was stopped
        answer = what()
        if answer:
            return answer
        time.sleep(0.1)
    raise TimeoutError(f"still not so after {timeout_s:g} s")


@dataclass(frozen=True)
class Cluster:
    """A Ray started by `ray start --head`, with a token, apart from any other on the machine."""

    address: str
    dashboard: str
    metrics: str
    folder: Path
    """Where its logs are."""
    env: dict[str, str] = field(repr=False)
    process: "subprocess.Popen[bytes]"

    def processes(self, title: str) -> list[psutil.Process]:
        """Its processes whose title holds `title`, such as `ray::RolloutWorker`.

        They are known by their output, which goes to the cluster's logs: it is inherited, while
        a process that sets its title may overwrite the environment it was started with.
        """
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                output = os.readlink(f"/proc/{process.pid}/fd/1")
                if output.startswith(f"{self.folder}/") and title in " ".join(process.cmdline()):
                    found.append(process)
        return found


def engine_processes(replica_pid: int) -> list[psutil.Process]:
    """The descendants of a replica that are vLLM's, so all but Python's own helper.

    Not by their titles: setproctitle finds the place of a process's title by the first of its
    environment variables, and quietly sets none where that one has been changed.
    """
    found = []
    for child in psutil.Process(replica_pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "resource_tracker" not in " ".join(child.cmdline()):
                found.append(child)
    return found


def alive_with(variable: str, value: str) -> list[psutil.Process]:
    """Processes that were started with an environment variable; zombies are not alive."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            marked = process.environ().get(variable) == value
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextlib.contextmanager
def ray_cluster(folder: Path, num_cpus: int = 2) -> Iterator[Cluster]:
    """`ray start --head` with ports of its own; on leaving nothing of it is alive."""
    port, dashboard, metrics = free_port(), free_port(), free_port()
    env = {"RAY_AUTH_TOKEN": secrets.token_hex(16), "RAY_ADDRESS": f"127.0.0.1:{port}"}
    command = ["ray", "start", "--head", "--block", f"--num-cpus={num_cpus}", f"--port={port}"]
    command += ["--node-ip-address=127.0.0.1", f"--dashboard-port={dashboard}"]
    command += [f"--metrics-export-port={metrics}"]
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name(command[0])), *command[1:], f"--temp-dir={folder}"],
        env=os.environ
        | {"RAY_AUTH_TOKEN": env["RAY_AUTH_TOKEN"], "RAY_AUTH_MODE": "token"}
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = "http://127.0.0.1:"
    addresses = (env["RAY_ADDRESS"], f"{url}{dashboard}", f"{url}{metrics}")
    cluster = Cluster(*addresses, folder, env, process)
    try:
        wait_for(lambda: listens(port) and listens(dashboard), _START_S)
        yield cluster
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        kill_all(cluster)


def kill_all(cluster: Cluster) -> None:
    """kill -9 of its processes, some of which may just be ending."""
    for process in cluster.processes(""):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@contextlib.contextmanager
def train_cluster(folder: Path, num_cpus: int = 2) -> Iterator[Cluster]:
    """The same for runs of Ray Train, which keeps an actor that remembers them: asked to end, Ray
    would wait half a minute for it."""
    with ray_cluster(folder, num_cpus) as started:
        yield started
        kill_all(started)
        started.process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
