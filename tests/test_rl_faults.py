"""`python -m jobs.rl` on a real Ray with a real vLLM: whatever is killed, hangs or is full costs
nothing."""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.run_folder import RunFolder
from cluster.traces import read_trajectories
from configs.load import load
from configs.rl import RlConfig
from tests.rl_runs import (
    NUM_STEPS,
    PRESET,
    SHORT,
    SYNC,
    Ended,
    check_account,
    last_step,
    lines,
    summary,
)
from tests.running import Cluster, job, run_job, train_cluster, wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.vision,
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

OURS = ("ray::RolloutWorker", "ray::Replica", "ray::TrainingLedger", "ray::PolicyStore")
TRAIN = ("ray::RayTrainWorker", "ray::TrainController", "ray::TraceWriter")
EVALUATED = 10_000
"""The first of the preset's worlds for evaluations."""
IMPATIENT = ("--policy.engine.silence_timeout_s", "30")
NEWEST = (
    *("--turn_version", "newest", "--learner.num_workers", "2"),
    # Versions change while episodes are under way: playing takes longer than learning.
    *("--cluster.episodes_per_worker", "4", "--algorithm.train_fraction", "0.5"),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with train_cluster(tmp_path_factory.mktemp("ray"), num_cpus=3) as started:
        yield started


def nothing_remains(cluster: Cluster) -> bool:
    return not any(cluster.processes(title) for title in (*OURS, *TRAIN))


def test_worker_replica_rank_ledger_and_driver_may_be_killed_and_a_replica_may_hang(
    cluster: Cluster, tmp_path: Path
) -> None:
    """One run of two ranks that loses them all, one after the other, and takes every step."""
    run = tmp_path / "run"
    command = [PRESET, *SHORT, *NEWEST, "--output", str(run), "--num_steps", "7"]
    command += ["--evaluation.every_steps", "7"]
    victims = ["ray::RolloutWorker", "ray::Replica", "ray::RayTrainWorker", "ray::TrainingLedger"]
    with job("rl", *command, *IMPATIENT, env=cluster.env) as first:
        for step, victim in enumerate(victims):
            wait_for(lambda step=step: last_step(run) >= step, timeout_s=240.0)
            kill(first, cluster, victim)
        wait_for(lambda: last_step(run) >= len(victims), timeout_s=240.0)
        first.send_signal(signal.SIGKILL)
    wait_for(lambda: nothing_remains(cluster))
    assert not (run / "summary.json").exists()
    with job("rl", *command, *IMPATIENT, env=cluster.env) as second:
        wait_for(lambda: cluster.processes("ray::RayTrainWorker"), timeout_s=240.0)
        wait_for(lambda: last_step(run) > len(victims), timeout_s=240.0)
        stopped = stop_replica(cluster)
        said, _ = second.communicate(timeout=600.0)
    assert second.returncode == 0, said
    assert "going on after step" in said
    assert not any(process.is_running() for process in stopped)
    check_account(run, 7)
    wait_for(lambda: nothing_remains(cluster))
    check_versions(run)


def check_versions(run: Path) -> None:
    """Turns are the newest version's, though an episode began with another; in an evaluation all
    are by the one that is judged."""
    assert all(line["staleness_max"] <= 1 for line in lines(run))
    played = list(read_trajectories(run / "traces"))
    versions = {one.spec: {turn.completion.version for turn in one.turns} for one in played}
    judged = [spec for spec in versions if spec.seed >= EVALUATED]
    assert {spec.sample for spec in judged} == {1, 8}
    assert all(versions[spec] == {spec.sample} for spec in judged)
    assert any(len(several) > 1 for several in versions.values())


def test_a_synchronous_run_that_a_full_disk_broke_off_ends_as_one_undisturbed(
    undisturbed_rl: Ended, cluster: Cluster, tmp_path: Path
) -> None:
    """Bit for bit: the last bits of the engine's log-probabilities, which depend on what else was
    in a batch, are in no gradient."""
    run = tmp_path / "run"
    checkpoints = run / "checkpoints"
    command = [*SYNC, "--output", str(run)]
    with RunFolder(load(RlConfig, command)):
        checkpoints.mkdir()
    with small_disk(checkpoints) as is_small:
        if is_small:
            runs_out_of_room(cluster, command, run)
        again = run_job("rl", *command, env=cluster.env, timeout_s=600.0)
        assert again.returncode == 0, again.stdout + again.stderr
        check_account(run, NUM_STEPS)
    assert summary(run)["adapter_sha256"] == summary(undisturbed_rl.run)["adapter_sha256"]
    for figure in ("loss", "critic_explained_variance"):
        undisturbed = [line[figure] for line in lines(undisturbed_rl.run)]
        assert [line[figure] for line in lines(run)] == undisturbed


def runs_out_of_room(cluster: Cluster, command: list[str], run: Path) -> None:
    """The disk of its checkpoints is full after the first: it ends and says so."""
    filler = run / "checkpoints" / "filler"
    with job("rl", *command, env=cluster.env) as full:
        wait_for(lambda: last_step(run) >= 0, timeout_s=240.0)
        fill(filler)
        said, _ = full.communicate(timeout=600.0)
    assert full.returncode == 1, said
    assert "No space left on device" in said.splitlines()[-1]
    assert not (run / "failures.jsonl").exists()
    filler.unlink()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of 32 MB at `folder`, where this may be mounted: by root alone, as a rule."""
    small = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    is_small = not subprocess.run(small, capture_output=True).returncode
    try:
        yield is_small
    finally:
        if is_small:
            subprocess.run(["umount", str(folder)], check=True)


def stop_replica(cluster: Cluster) -> list[psutil.Process]:
    """The replica and its engine, which answer nothing any more."""
    (replica,) = cluster.processes("ray::Replica")
    stopped = [*replica.children(recursive=True), replica]
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    return stopped


def kill(run: "subprocess.Popen[str]", cluster: Cluster, title: str) -> None:
    """kill -9 of one process of a title, which may just be starting."""
    process, *_ = wait_for(lambda: cluster.processes(title), timeout_s=60.0)
    assert run.poll() is None
    process.send_signal(signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(process.pid) or not process.is_running())


def fill(path: Path) -> None:
    """Leave no room where `path` is."""
    free = shutil.disk_usage(path.parent).free
    with path.open("wb") as file:
        file.write(bytes(max(free - 4096, 0)))
