"""The whole pool on a real Ray with a real vLLM: what is killed comes back, and nothing changes."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.traces import read_trajectories
from tests.running import Cluster, engine_processes, job, ray_cluster, run_job, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.vision]

ENGINE_TITLES = ("VLLM::", "multiprocessing.spawn")
PLAY = ["--policy", "vllm", "--policy.max_tokens", "12", "--seeds", "0-5"]
RULES = ["--prompt.image_only", "true", "--play.max_turns", "25", "--env.length", "100"]
POOL = ["--cluster.num_workers", "1", "--cluster.worker_cpus", "0.2"]
COLLECT = [*PLAY, *RULES, *POOL]

Tokens = dict[str, list[tuple[int, ...]]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ray_cluster(tmp_path_factory.mktemp("ray")) as started:
        yield started


def tokens_in(output: Path) -> Tokens:
    """The sampled ids of every decision of every episode."""
    return {
        played.spec.id: [turn.completion.token_ids for turn in played.turns]
        for played in read_trajectories(output / "traces")
    }


@pytest.fixture(scope="module")
def evaluated(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, str]":
    """Two players in the worlds of the killed runs, undisturbed, and what was said."""
    output = tmp_path_factory.mktemp("evaluated") / "run"
    options = ["--policies", '["vllm", "random"]', "--policies.0.max_tokens", "12"]
    options += ["--seeds", "0-5", "--baseline", "random", "--output", str(output)]
    done = run_job("evaluate", *options, *RULES, *POOL, env=cluster.env)
    assert done.returncode == 0, done.stdout + done.stderr
    return output, done.stdout


@pytest.fixture(scope="module")
def undisturbed(evaluated: "tuple[Path, str]") -> Tokens:
    return tokens_in(evaluated[0] / "players/vllm")


def test_every_decision_was_sampled_from_a_picture(undisturbed: Tokens) -> None:
    assert len(undisturbed) == 6
    for ids in undisturbed.values():
        assert 1 <= len(ids) <= 25
        assert all(1 <= len(sampled) <= 12 for sampled in ids)
    assert len({sampled for ids in undisturbed.values() for sampled in ids}) > 6


@pytest.mark.parametrize("victim", ["replica", "engine"])
def test_a_killed_replica_serves_again_and_the_play_is_the_same(
    cluster: Cluster, undisturbed: Tokens, tmp_path: Path, victim: str
) -> None:
    output = tmp_path / "run"
    with job("collect", *COLLECT, "--output", str(output), env=cluster.env) as run:
        wait_for(lambda: is_answering(cluster), timeout_s=180)
        (replica,) = cluster.processes("ray::Replica")
        (core,) = engine_processes(replica.pid)
        (core if victim == "engine" else replica).send_signal(signal.SIGKILL)
        wait_for(lambda: has_ended(core))
        said, _ = run.communicate(timeout=240)
    assert run.returncode == 0, said
    assert tokens_in(output) == undisturbed
    wait_for(lambda: not any(map(cluster.processes, ENGINE_TITLES)))


def is_answering(cluster: Cluster) -> bool:
    """Whether an actor is at play: its title names the method that it was asked for last."""
    return any(map(cluster.processes, ("ray::RolloutWorker.play", "ray::Replica.generate")))


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_two_policies_share_worlds_and_end_in_a_summary(evaluated: "tuple[Path, str]") -> None:
    run, said = evaluated
    summary = json.loads((run / "summary.json").read_text())
    assert [policy["name"] for policy in summary["policies"]] == ["vllm", "random"]
    (gain,) = summary["gains"]
    assert (gain["policy"], gain["baseline"]) == ("vllm", "random")
    assert "vllm over random: " in said
    for policy in summary["policies"]:
        assert policy["episodes"] == 6
        assert Path(policy["output_dir"]).is_dir()
        low, high = policy["mean_achievements_ci"]
        assert low <= policy["mean_achievements"] <= high
        assert len(policy["success"]) == 22
        assert policy["total_tool_calls"] + sum(policy["invalid_calls"].values()) == round(
            policy["episodes"] * policy["mean_steps"]
        )
    assert summary["policies"][0]["total_completion_tokens"] > 0
    assert "achievements" in said
    assert "Seed 03: steps=" in said
