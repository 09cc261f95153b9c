"""The jobs on a real Ray: three ways to run, and whatever is killed on the way."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.traces import read_summaries, read_trajectories
from tests.faulty_server import FaultyServer
from tests.openai_players import KEY
from tests.running import ROOT, Cluster, alive_with, job, ray_cluster, run_job, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.slow]

RANDOM = ["--policy", "random", "--seeds", "0-11"]
SMALL = [*RANDOM, "--env.length", "40", "--cluster.episodes_per_worker", "2"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    # A short path: Ray's sockets live below it and may have 107 characters.
    with ray_cluster(tmp_path_factory.mktemp("ray")) as started:
        yield started


def seeds_in(output: Path) -> list[int]:
    """Seeds of the stored episodes; reading refuses an episode that is there twice."""
    scan = read_summaries(output / "traces")
    assert scan.refused == ()
    return [summary.spec.seed for summary in scan.summaries]


def nothing_remains(cluster: Cluster) -> bool:
    titles = ("ray::RolloutWorker", "ray::LedgerActor", "ray::TraceWriter", "ray::Replica")
    return not any(cluster.processes(title) for title in titles)


def slow(seeds: str) -> list[str]:
    """Enough play to be interrupted in the middle of it."""
    size = ["--env.length", "3000", "--play.max_turns", "3000", "--env.size", "72"]
    return ["--policy", "random", "--seeds", seeds, *size, "--cluster.episodes_per_worker", "2"]


def parts(output: Path) -> list[Path]:
    return list((output / "traces" / "episodes").glob("*.parquet"))


def kill_once_there_are_parts(cluster: Cluster, title: str, output: Path) -> None:
    wait_for(lambda: parts(output))
    wait_for(lambda: cluster.processes(title))[0].send_signal(signal.SIGKILL)
    assert len(seeds_in(output)) < 64, "the play was over before the kill"


def test_plain_python_starts_its_own_ray_and_leaves_nothing(tmp_path: Path) -> None:
    mark = {"PICKAXE_TEST_RUN": str(tmp_path)}
    done = run_job("collect", *SMALL, "--output", str(tmp_path / "run"), env=mark)
    assert done.returncode == 0, done.stderr
    assert seeds_in(tmp_path / "run") == list(range(12))
    wait_for(lambda: not alive_with("PICKAXE_TEST_RUN", str(tmp_path)))


@pytest.fixture(scope="module")
def whole(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, str]":
    """A run that nothing interrupted, and what it said."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = run_job("collect", *SMALL, "--output", str(run), env=cluster.env)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: nothing_remains(cluster))
    return run, done.stdout


def test_a_run_on_ray_start_prints_its_plan_first(whole: "tuple[Path, str]") -> None:
    said = whole[1].splitlines()
    assert said[0].startswith("settings: ")
    assert "env.length = 40" in said[0]
    assert said[1] == "plan for random:"
    assert "Seed 00: steps=40, achievements=" in whole[1]
    assert "12 episodes" in said[-1]


def test_the_same_command_again_has_nothing_to_do(whole: "tuple[Path, str]") -> None:
    run, _ = whole
    stored = parts(run)
    command = [*SMALL, "--output", str(run)]
    again = run_job("collect", *command, env={"RAY_ADDRESS": "127.0.0.1:1"})
    assert again.returncode == 0, again.stderr
    assert parts(run) == stored


def test_another_configuration_is_refused_and_named(whole: "tuple[Path, str]") -> None:
    run, _ = whole
    other = run_job("collect", *SMALL, "--output", str(run), "--env.length", "41")
    assert other.returncode == 2
    assert "env.length differs" in other.stderr
    assert len(seeds_in(run)) == 12


def test_job_submit_lands_where_the_user_asked(cluster: Cluster, tmp_path: Path) -> None:
    done = submit(cluster, [*SMALL, "--output", str(tmp_path / "run")])
    assert done.returncode == 0, done.stdout + done.stderr
    assert seeds_in(tmp_path / "run") == list(range(12))


def test_job_submit_refuses_an_output_that_would_be_lost(cluster: Cluster) -> None:
    done = submit(cluster, [*SMALL, "--output", "lost"])
    assert done.returncode == 1
    assert "output 'lost' is relative to Ray's own copy" in done.stdout + done.stderr


def submit(cluster: Cluster, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    ray = str(Path(sys.executable).with_name("ray"))
    command = [ray, "job", "submit", "--address", cluster.dashboard, "--working-dir", "."]
    return subprocess.run(
        [*command, "--", "python", "-m", "jobs.collect", *arguments],
        cwd=ROOT,
        env=os.environ | cluster.env | {"RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_killed_and_started_again_it_ends_with_each_episode_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    command = [*slow("0-39"), "--output", str(output)]
    with job("collect", *command, env=cluster.env) as first:
        wait_for(lambda: parts(output))
        first.send_signal(signal.SIGKILL)
    assert 0 < len(seeds_in(output)) < 40
    again = run_job("collect", *command, env=cluster.env)
    assert again.returncode == 0, again.stderr
    assert "episodes are here already" in again.stdout
    assert seeds_in(output) == list(range(40))


def test_ctrl_c_leaves_a_run_that_can_be_continued(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "run"
    with job("collect", *slow("0-39"), "--output", str(output), env=cluster.env) as run:
        wait_for(lambda: parts(output))
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert said.splitlines()[-1].startswith("interrupted: what is written stays")
    wait_for(lambda: nothing_remains(cluster))
    assert len(seeds_in(output)) >= 1


def test_a_remote_model_plays_and_its_key_is_written_nowhere(
    cluster: Cluster, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    # The cluster was started without the key: workers get it from the job alone.
    env = cluster.env | {"OPENAI_API_KEY": KEY}
    with FaultyServer() as server:
        policy = ["--policy.kind", "openai", "--policy.model", "gpt-4o"]
        limits = ["--policy.base_url", server.base_url, "--play.max_turns", "3"]
        done = run_job(
            "collect", *policy, *limits, "--seeds", "0-3", "--output", str(output), env=env
        )
        asked = {request.authorization for request in server.chats}
    assert done.returncode == 0, done.stderr
    assert asked == {f"Bearer {KEY}"}
    played = list(read_trajectories(output / "traces"))
    assert [len(trajectory.turns) for trajectory in played] == [3, 3, 3, 3]
    assert KEY not in done.stdout + done.stderr + repr(played)
    files = [path for folder in (output, cluster.folder) for path in folder.rglob("*")]
    assert len(files) > 20
    assert [path for path in files if path.is_file() and KEY.encode() in path.read_bytes()] == []


def test_rays_metrics_show_the_play(cluster: Cluster, tmp_path: Path) -> None:
    name = ["--policy.name", "watched", "--output", str(tmp_path / "run")]
    with job("collect", *slow("0-99"), *name, env=cluster.env) as run:
        wait_for(lambda: metric(cluster, "ray_pickaxe_episodes_total", "death") >= 1, 180)
        assert metric(cluster, "ray_pickaxe_decisions_total") >= 1
        assert metric(cluster, "ray_pickaxe_episodes_playing") >= 1
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
    wait_for(lambda: nothing_remains(cluster))


def metric(cluster: Cluster, name: str, ending: str = "") -> float:
    """The sum over workers, as the node's agent exports it for the player `watched`."""
    try:
        with urllib.request.urlopen(cluster.metrics, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0.0  # the agent starts later than the rest
    tags = ('player="watched"', f'ending="{ending}"' if ending else "")
    mine = [line for line in lines if line.startswith(name) and all(tag in line for tag in tags)]
    return sum(float(line.rpartition(" ")[2]) for line in mine)


@pytest.mark.parametrize("title", ["ray::RolloutWorker", "ray::TraceWriter"])
def test_a_killed_actor_costs_no_episode(cluster: Cluster, tmp_path: Path, title: str) -> None:
    output = tmp_path / "run"
    alone = ["--cluster.num_workers", "1", "--output", str(output)]
    with job("collect", *slow("0-63"), *alone, env=cluster.env) as run:
        kill_once_there_are_parts(cluster, title, output)
        said, _ = run.communicate(timeout=400)
    assert run.returncode == 0, said
    assert seeds_in(output) == list(range(64))


def test_a_killed_ledger_ends_the_run_with_its_name(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "run"
    with job("collect", *slow("0-63"), "--output", str(output), env=cluster.env) as run:
        kill_once_there_are_parts(cluster, "ray::LedgerActor", output)
        said, _ = run.communicate(timeout=100)
    assert run.returncode == 1
    # Ray's own notice of a killed worker may come after it.
    assert [line for line in said.splitlines() if line.startswith("failed: the ledger died")]
    assert len(seeds_in(output)) >= 1


def test_a_plan_that_does_not_fit_says_what_is_missing(cluster: Cluster, tmp_path: Path) -> None:
    too_many = ["--cluster.num_workers", "9", "--cluster.worker_cpus", "1"]
    done = run_job("collect", *SMALL, *too_many, "--output", str(tmp_path), env=cluster.env)
    assert done.returncode == 2
    assert "no room for 7 of 9 worker (1 CPU each)" in done.stderr
    assert "free: 2 CPU on" in done.stderr
