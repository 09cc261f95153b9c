"""`python -m jobs.sft` on a real Ray Train: it ends, and whatever is killed costs nothing."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import Qwen3VLForConditionalGeneration

from actors.adapter import check_adapter, read_adapter
from cluster.adapter_files import digest
from configs.load import dump
from configs.player import ServingLora
from tests.running import Cluster, alive_with, job, run_job, train_cluster, wait_for
from tests.sft_rows import MODEL, settings, write_data

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.vision,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

NUM_STEPS = 40


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with train_cluster(tmp_path_factory.mktemp("ray")) as started:
        yield started


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("made") / "data")


def command(folder: Path, data: Path) -> list[str]:
    """A run of some seconds on two workers; killed in the middle, it has checkpoints."""
    config = settings(
        folder,
        data=str(data),
        num_steps=NUM_STEPS,
        evaluation={"every_steps": 20},
        checkpoint={"every_steps": 5},
        cluster={"num_workers": 2, "micro_batch_size": 2},
    )
    (folder / "sft.toml").write_text(dump(config))
    return [str(folder / "sft.toml")]


def lines(folder: Path) -> list[dict[str, float]]:
    """The run's figures, without how long they took."""
    text = (folder / "run/metrics.jsonl").read_text()
    told = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in line.items() if k != "samples_per_s"} for line in told]


def summary(folder: Path) -> dict[str, object]:
    told: dict[str, object] = json.loads((folder / "run/summary.json").read_text())
    return told


def steps(folder: Path) -> list[Path]:
    return list((folder / "run/checkpoints").glob("step_*"))


def nothing_remains(cluster: Cluster) -> bool:
    return not any(cluster.processes(t) for t in ("ray::RayTrainWorker", "ray::TrainController"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, str]":
    """A run that nothing interrupted, on a Ray of its own that is gone with it; what it said."""
    folder = tmp_path_factory.mktemp("whole")
    mark = {"PICKAXE_TEST_RUN": str(folder)}
    alone = ["--cluster.address", "local"]
    done = run_job("sft", *command(folder, data), *alone, env=mark)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for(lambda: not alive_with("PICKAXE_TEST_RUN", str(folder)), timeout_s=30.0)
    return folder, done.stdout


def test_two_workers_leave_an_adapter_that_loads(whole: "tuple[Path, str]") -> None:
    folder, _ = whole
    adapter = folder / "run/adapter"
    files = read_adapter(adapter)
    assert len(check_adapter(files, ServingLora(max_rank=16, tower=False))) == 28
    PeftModel.from_pretrained(Qwen3VLForConditionalGeneration.from_pretrained(MODEL), adapter)
    told = summary(folder)
    assert told["adapter_sha256"] == digest(files)
    assert told["steps"] == NUM_STEPS
    assert told["workers"] == 2
    assert told["samples"] == NUM_STEPS * 8


def test_it_says_what_it_will_take_and_how_it_goes(whole: "tuple[Path, str]") -> None:
    said = whole[1].splitlines()
    assert said[0].startswith("settings: ")
    assert said[2].startswith("24 examples of ")
    assert said[3].startswith("memory of a worker, roughly: ")
    assert said[5].startswith("learner           2          1")
    assert [line for line in said if line.startswith(f"step {NUM_STEPS}/{NUM_STEPS}: loss ")]
    assert "validation loss" in said[-1]
    # Ray Train's own log does not mix with it.
    assert not [line for line in said if "Ray" in line or "pid=" in line]


def test_it_leaves_no_litter(whole: "tuple[Path, str]") -> None:
    names = {path.name for path in (whole[0] / "run").iterdir()}
    assert names == {
        ".lock",
        "adapter",
        "checkpoints",
        "config.toml",
        "curves.png",
        "inputs.json",
        "metrics.jsonl",
        "summary.json",
        "tensorboard",
    }
    assert not (Path.home() / "ray_results").exists()


def test_the_same_command_again_has_nothing_to_do(whole: "tuple[Path, str]") -> None:
    command = [str(whole[0] / "sft.toml")]
    again = run_job("sft", *command, env={"RAY_ADDRESS": "127.0.0.1:1"})
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1].startswith("nothing to do: it has ended")


def test_another_configuration_is_refused_and_machines_are_not(whole: "tuple[Path, str]") -> None:
    command = [str(whole[0] / "sft.toml")]
    assert run_job("sft", *command, "--cluster.num_workers", "1").returncode == 0
    other = run_job("sft", *command, "--optim.learning_rate", "1e-4")
    assert other.returncode == 2
    assert "(optim.learning_rate differs)" in other.stderr


def test_workers_that_do_not_fit_are_refused(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    too_many = ["--cluster.num_workers", "4"]
    done = run_job("sft", *command(tmp_path, data), *too_many, env=cluster.env)
    assert done.returncode == 2
    assert "no room for 2 of 4 learner (1 CPU each)" in done.stderr


def test_a_killed_driver_leaves_no_worker_and_a_killed_worker_costs_no_step(
    whole: "tuple[Path, str]", cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    with job("sft", *command(tmp_path, data), env=cluster.env) as run:
        wait_for(lambda: steps(tmp_path), timeout_s=200.0)
        run.send_signal(signal.SIGKILL)
    wait_for(lambda: nothing_remains(cluster))
    assert not (tmp_path / "run/summary.json").exists()
    last = max(steps(tmp_path))
    with job("sft", *command(tmp_path, data), env=cluster.env) as again:
        wait_for(lambda: max(steps(tmp_path)) > last, timeout_s=200.0)
        wait_for(lambda: cluster.processes("ray::RayTrainWorker"))[0].send_signal(signal.SIGKILL)
        said, _ = again.communicate(timeout=200)
    assert again.returncode == 0, said
    assert "going on after step" in said
    assert "starting again from the last checkpoint" in said
    assert lines(tmp_path) == lines(whole[0])
    assert summary(tmp_path)["adapter_sha256"] == summary(whole[0])["adapter_sha256"]


def test_workers_that_die_too_often_end_the_run_with_the_cause(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    never = ["--cluster.max_failures", "0"]
    with job("sft", *command(tmp_path, data), *never, env=cluster.env) as run:
        wait_for(lambda: steps(tmp_path), timeout_s=200.0)
        wait_for(lambda: cluster.processes("ray::RayTrainWorker"))[0].send_signal(signal.SIGKILL)
        said, _ = run.communicate(timeout=100)
    assert run.returncode == 1
    assert said.splitlines()[-1].startswith("failed: training died: worker ")
    wait_for(lambda: nothing_remains(cluster))


def test_ctrl_c_leaves_a_run_that_can_be_continued(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    with job("sft", *command(tmp_path, data), env=cluster.env) as run:
        wait_for(lambda: steps(tmp_path), timeout_s=200.0)
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert said.splitlines()[-1].startswith("interrupted: what is written stays")
    wait_for(lambda: nothing_remains(cluster))
