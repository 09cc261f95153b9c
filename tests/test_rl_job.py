"""`python -m jobs.rl` on a real Ray with a real vLLM: what a run does and leaves."""

from pathlib import Path

import pytest
from peft import PeftModel
from transformers import Qwen3VLForConditionalGeneration

from actors.adapter import read_adapter
from cluster.adapter_files import digest
from cluster.traces import read_trajectories
from tests.rl_runs import LOCAL, PRESET, SHORT, lines, summary
from tests.running import alive_with, run_job, wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.vision,
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MODEL = "configs/models/tiny"
NUM_STEPS = 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, str]":
    """A run of the preset on a Ray of its own, and what it said."""
    folder = tmp_path_factory.mktemp("whole")
    mark = {"PICKAXE_TEST_RUN": str(folder)}
    command = [PRESET, *SHORT, "--output", str(folder / "run"), *LOCAL]
    done = run_job("rl", *command, env=mark, timeout_s=600.0)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for(lambda: not alive_with("PICKAXE_TEST_RUN", str(folder)), timeout_s=30.0)
    return folder / "run", done.stdout


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
    command = [PRESET, *SHORT, "--output", str(whole[0])]
    again = run_job("rl", *command, env={"RAY_ADDRESS": "127.0.0.1:1"})
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1].startswith("nothing to do: it has ended")
