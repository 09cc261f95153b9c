"""Runs of `jobs.rl` as their tests start and judge them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.running import alive_with, run_job, wait_for

PRESET = "configs/ci/rl.toml"
LOCAL = ("--cluster.address", "local")
NUM_STEPS = 2
SHORT = (
    *("--env.length", "12", "--play.reward.strategy", "achievements"),
    *("--play.reward.idle_penalty", "-0.05"),  # few plays of a group are alike then
)


SYNC = (
    *(PRESET, *SHORT, "--max_staleness", "0", "--num_steps", str(NUM_STEPS)),
    *("--evaluation.every_steps", str(NUM_STEPS), "--checkpoint.final", "last"),
    *("--algorithm.old_logprobs", "recomputed", "--algorithm.advantage", "critic"),
)


@dataclass(frozen=True)
class Ended:
    """An undisturbed synchronous run, and what it said."""

    run: Path
    said: str


def undisturbed(folder: Path) -> Ended:
    """On a Ray of its own, of which nothing remains."""
    run, mark = folder / "run", {"PICKAXE_TEST_RUN": str(folder)}
    done = run_job("rl", *SYNC, "--output", str(run), *LOCAL, env=mark, timeout_s=600.0)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for(lambda: not alive_with("PICKAXE_TEST_RUN", str(folder)), timeout_s=30.0)
    return Ended(run, done.stdout)


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


def check_account(run: Path, num_steps: int) -> None:
    told = summary(run)
    assert told["steps"] == num_steps
    assert (told["episodes"]["lost"], told["episodes"]["doubled"]) == (0, 0)
    assert told["episodes"]["trained"] == num_steps * 8
    steps = [line["step"] for line in lines(run)]
    assert steps == list(range(1, num_steps + 1))
