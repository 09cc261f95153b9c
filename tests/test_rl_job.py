"""`python -m jobs.rl` on a real Ray with a real vLLM: what a run does and leaves."""

import pytest
from peft import PeftModel
from transformers import Qwen3VLForConditionalGeneration

from actors.adapter import read_adapter
from cluster.adapter_files import digest
from cluster.traces import read_trajectories
from tests.rl_runs import NUM_STEPS, SYNC, Ended, check_account, lines, summary
from tests.running import run_job

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.vision,
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MODEL = "configs/models/tiny"


def test_every_asked_step_is_taken_and_no_episode_is_lost_or_doubled(
    undisturbed_rl: Ended,
) -> None:
    check_account(undisturbed_rl.run, NUM_STEPS)
    assert undisturbed_rl.said.splitlines()[-1].startswith(f"{NUM_STEPS} steps, return ")


def test_engine_and_learner_agree_at_zero_lag(undisturbed_rl: Ended) -> None:
    for line in lines(undisturbed_rl.run):
        assert line["mismatch_measured"] == 1
        assert line["mismatch_mean_abs"] < 1e-4
        assert line["mismatch_max_ratio"] < 1.001


def test_every_decision_tells_its_version_which_is_the_one_that_learns_from_it(
    undisturbed_rl: Ended,
) -> None:
    played = list(read_trajectories(undisturbed_rl.run / "traces"))
    versions = {one.spec: {turn.completion.version for turn in one.turns} for one in played}
    assert set.union(*versions.values()) == {1, 2, 3}
    assert all(len(several) == 1 for several in versions.values())
    assert all(line["staleness_max"] == 0 for line in lines(undisturbed_rl.run))


def test_the_adapter_has_learned_something_and_loads(undisturbed_rl: Ended) -> None:
    run = undisturbed_rl.run
    adapters = {
        digest(read_adapter(path / "adapter")) for path in (run / "checkpoints").glob("step_*")
    }
    assert len(adapters) > 1
    PeftModel.from_pretrained(
        Qwen3VLForConditionalGeneration.from_pretrained(MODEL), run / "adapter"
    )


def test_it_was_evaluated_before_and_after(undisturbed_rl: Ended) -> None:
    evaluations = summary(undisturbed_rl.run)["evaluations"]
    assert sorted(one["step"] for one in evaluations) == [0, NUM_STEPS]
    assert all(one["figures"]["worlds"] == 4 for one in evaluations)


def test_a_run_leaves_what_its_page_says(undisturbed_rl: Ended) -> None:
    names = {path.name for path in undisturbed_rl.run.iterdir() if not path.name.startswith(".")}
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


def test_the_same_command_again_has_nothing_to_do(undisturbed_rl: Ended) -> None:
    command = [*SYNC, "--output", str(undisturbed_rl.run)]
    again = run_job("rl", *command, env={"RAY_ADDRESS": "127.0.0.1:1"})
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1].startswith("nothing to do: it has ended")
