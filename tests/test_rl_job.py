"""`python -m jobs.rl` on a real Ray with a real vLLM: it learns, and whatever is killed costs
nothing."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from peft import PeftModel
from transformers import Qwen3VLForConditionalGeneration

from actors.adapter import read_adapter
from cluster.adapter_files import digest
from cluster.run_folder import RunFolder
from cluster.traces import read_trajectories
from configs.load import load
from configs.rl import RlConfig
from tests.running import Cluster, alive_with, job, ray_cluster, run_job, wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.vision,
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MODEL = "configs/models/tiny"
PRESET = "configs/ci/rl.toml"
NUM_STEPS = 3
OURS = ("ray::RolloutWorker", "ray::Replica", "ray::TrainingLedger", "ray::PolicyStore")
TRAIN = ("ray::RayTrainWorker", "ray::TrainController", "ray::TraceWriter")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ray_cluster(tmp_path_factory.mktemp("ray")) as started:
        yield started
        # Ray Train keeps an actor that remembers its runs: Ray would wait half a minute for it.
        for process in started.processes(""):
            process.kill()
        started.process.wait(30)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, str]":
    """A run of the preset on a Ray of its own, and what it said."""
    folder = tmp_path_factory.mktemp("whole")
    mark = {"PICKAXE_TEST_RUN": str(folder)}
    local = ["--output", str(folder / "run"), "--cluster.address", "local"]
    done = run_job("rl", PRESET, *local, env=mark, timeout_s=600.0)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for(lambda: not alive_with("PICKAXE_TEST_RUN", str(folder)), timeout_s=30.0)
    return folder / "run", done.stdout


def lines(run: Path) -> list[dict[str, Any]]:
    """The figures of the run's steps."""
    told = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in told if "loss" in line]


def summary(run: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return told


def last_step(run: Path) -> int:
    names = [path.name for path in (run / "checkpoints").glob("step_*")]
    return max((int(name.removeprefix("step_")) for name in names), default=-1)


def nothing_remains(cluster: Cluster) -> bool:
    return not any(cluster.processes(title) for title in (*OURS, *TRAIN))


def test_every_asked_step_is_taken_and_no_episode_is_lost_or_doubled(
    whole: "tuple[Path, str]",
) -> None:
    run, said = whole
    told = summary(run)
    assert told["steps"] == NUM_STEPS
    episodes = told["episodes"]
    assert (episodes["lost"], episodes["doubled"]) == (0, 0)
    assert episodes["trained"] == NUM_STEPS * 8
    assert said.splitlines()[-1].startswith(f"{NUM_STEPS} steps, return ")


def test_engine_and_learner_agree_at_zero_lag(whole: "tuple[Path, str]") -> None:
    for line in lines(whole[0]):
        assert line["mismatch_measured"] == 1
        assert line["mismatch_mean_abs"] < 1e-4
        assert line["mismatch_max_ratio"] < 1.001


def test_every_decision_tells_its_version_and_none_is_too_old(whole: "tuple[Path, str]") -> None:
    run, _ = whole
    versions = {
        turn.completion.version
        for trajectory in read_trajectories(run / "traces")
        for turn in trajectory.turns
    }
    assert {1, 2} <= versions <= {1, 2, 3, 4}
    assert all(line["staleness_max"] <= 1 for line in lines(run))


def test_the_adapter_has_learned_something_and_loads(whole: "tuple[Path, str]") -> None:
    run, _ = whole
    adapters = {
        digest(read_adapter(path / "adapter")) for path in (run / "checkpoints").glob("step_*")
    }
    assert len(adapters) > 1
    PeftModel.from_pretrained(
        Qwen3VLForConditionalGeneration.from_pretrained(MODEL), run / "adapter"
    )


def test_it_was_evaluated_before_and_after(whole: "tuple[Path, str]") -> None:
    evaluations = summary(whole[0])["evaluations"]
    assert sorted(one["step"] for one in evaluations) == [0, NUM_STEPS]
    assert all(one["figures"]["worlds"] == 4 for one in evaluations)


def test_a_run_leaves_what_its_page_says(whole: "tuple[Path, str]") -> None:
    names = {path.name for path in whole[0].iterdir() if not path.name.startswith(".")}
    assert names == {
        "adapter",
        "checkpoints",
        "config.toml",
        "curves.png",
        "inputs.json",
        "metrics.jsonl",
        "summary.json",
        "tensorboard",
        "traces",
    }


def test_the_same_command_again_has_nothing_to_do(whole: "tuple[Path, str]") -> None:
    again = run_job("rl", PRESET, "--output", str(whole[0]), env={"RAY_ADDRESS": "127.0.0.1:1"})
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1].startswith("nothing to do: it has ended")


def test_worker_replica_rank_ledger_and_driver_may_be_killed(
    cluster: Cluster, tmp_path: Path
) -> None:
    """One run that loses them all, one after the other, and takes every step."""
    run = tmp_path / "run"
    command = [PRESET, "--output", str(run), "--num_steps", "6", "--evaluation.every_steps", "6"]
    victims = ["ray::RolloutWorker", "ray::Replica", "ray::RayTrainWorker", "ray::TrainingLedger"]
    with job("rl", *command, env=cluster.env) as first:
        for step, victim in enumerate(victims):
            wait_for(lambda step=step: last_step(run) >= step, timeout_s=240.0)
            kill(first, cluster, victim)
        wait_for(lambda: last_step(run) >= len(victims), timeout_s=240.0)
        first.send_signal(signal.SIGKILL)
    wait_for(lambda: nothing_remains(cluster))
    assert not (run / "summary.json").exists()
    again = run_job("rl", *command, env=cluster.env, timeout_s=600.0)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "going on after step" in again.stdout
    check_account(run, 6)
    wait_for(lambda: nothing_remains(cluster))


def test_a_replica_that_hangs_is_replaced(cluster: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with job("rl", PRESET, "--output", str(run), env=cluster.env) as under_way:
        wait_for(lambda: last_step(run) >= 0, timeout_s=240.0)
        (replica,) = cluster.processes("ray::Replica")
        for process in (*replica.children(recursive=True), replica):
            process.send_signal(signal.SIGSTOP)
        said, _ = under_way.communicate(timeout=600.0)
    assert under_way.returncode == 0, said
    check_account(run, NUM_STEPS)


def test_a_full_disk_ends_the_run_with_the_cause_and_it_goes_on_with_room(
    cluster: Cluster, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    checkpoints = run / "checkpoints"
    with RunFolder(load(RlConfig, [PRESET, "--output", str(run)])):
        checkpoints.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(checkpoints)]
    if subprocess.run(small, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root alone")
    try:
        filler = checkpoints / "filler"
        with job("rl", PRESET, "--output", str(run), env=cluster.env) as full:
            wait_for(lambda: last_step(run) >= 0, timeout_s=240.0)
            fill(filler)
            said, _ = full.communicate(timeout=600.0)
        assert full.returncode == 1, said
        assert "No space left on device" in said.splitlines()[-1]
        assert not (run / "failures.jsonl").exists()
        filler.unlink()
        again = run_job("rl", PRESET, "--output", str(run), env=cluster.env, timeout_s=600.0)
        assert again.returncode == 0, again.stdout + again.stderr
        check_account(run, NUM_STEPS)
    finally:
        subprocess.run(["umount", str(checkpoints)], check=True)


def test_synchronous_runs_of_one_seed_are_the_same(tmp_path: Path) -> None:
    """Bit for bit: the last bits of the engine's log-probabilities, which depend on what else was
    in a batch, are in no gradient."""
    runs = [tmp_path / name for name in ("one", "two")]
    for run in runs:
        sync = ["--max_staleness", "0", "--num_steps", "2", "--evaluation.every_steps", "none"]
        sync += ["--checkpoint.final", "last", "--algorithm.old_logprobs", "recomputed"]
        local = ["--output", str(run), "--cluster.address", "local"]
        done = run_job("rl", PRESET, *sync, *local, timeout_s=600.0)
        assert done.returncode == 0, done.stdout + done.stderr
    assert summary(runs[0])["adapter_sha256"] == summary(runs[1])["adapter_sha256"]
    assert [line["loss"] for line in lines(runs[0])] == [line["loss"] for line in lines(runs[1])]


def kill(run: "subprocess.Popen[str]", cluster: Cluster, title: str) -> None:
    """kill -9 of the one process of a title, which may just be starting."""
    (process,) = wait_for(lambda: cluster.processes(title), timeout_s=60.0)
    assert run.poll() is None
    process.send_signal(signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(process.pid) or not process.is_running())


def fill(path: Path) -> None:
    """Leave no room where `path` is."""
    free = shutil.disk_usage(path.parent).free
    with path.open("wb") as file:
        file.write(bytes(max(free - 4096, 0)))


def check_account(run: Path, num_steps: int) -> None:
    told = summary(run)
    assert told["steps"] == num_steps
    assert (told["episodes"]["lost"], told["episodes"]["doubled"]) == (0, 0)
    steps = [line["step"] for line in lines(run)]
    assert steps == list(range(1, num_steps + 1))
