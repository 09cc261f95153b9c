"""The benchmarks of an RL run: how their figures come about, and that they run."""

import multiprocessing
import os
import time
from collections.abc import Callable

import psutil
import pytest

from cluster.cpu_time import TreeTime
from jobs.benchmarks import overlap, rl, sync
from jobs.benchmarks.overlap import ideal_s
from jobs.benchmarks.rl import Costs
from tests.running import wait_for

SPIN_S = 0.3


def spin() -> None:
    """Use some CPU."""
    while time.process_time() < SPIN_S:
        pass


def spin_and_stay() -> None:
    spin()
    time.sleep(60)


def test_the_learner_waits_for_the_first_batch_alone() -> None:
    # Play is 2 s a step: 2 s of waiting, then 3 x 3 s of learning.
    assert ideal_s([2, 2, 2], [3, 3, 3]) == 11


def test_the_last_batch_is_learned_from_after_all_play() -> None:
    assert ideal_s([4, 4, 4], [1, 1, 1]) == 13


def test_one_step_cannot_overlap() -> None:
    assert ideal_s([4], [3]) == 7


def test_costs_are_compared_as_the_page_says() -> None:
    costs = Costs(run_s=12, engine_s=4, stock_s=6, own_s=4, num_tokens=2000)
    assert costs.figures() == {
        "cpu_ratio": pytest.approx(1.2),
        "cpu_ratio_own": pytest.approx(1.5),
        "run_ms": pytest.approx(6),
        "engine_ms": pytest.approx(2),
        "stock_ms": pytest.approx(3),
        "own_ms": pytest.approx(2),
    }


def started(work: Callable[[], None]) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def test_cpu_time_is_of_the_whole_tree_and_of_what_has_ended() -> None:
    tree = TreeTime(os.getpid())
    before_s = tree.look()
    child = started(spin_and_stay)
    assert child.pid is not None
    times = psutil.Process(child.pid).cpu_times
    wait_for(lambda: times().user + times().system >= SPIN_S - 0.05)
    running_s = tree.look() - before_s
    child.kill()
    child.join()
    assert SPIN_S - 0.05 <= running_s < SPIN_S + 2
    assert tree.look() - before_s >= running_s


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.vision
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_small_run_overlaps_more_than_one_in_turn() -> None:
    assert any(is_overlapping() for _ in range(3))  # a machine that stalls may spoil a run


def is_overlapping() -> bool:
    figures = overlap.run(num_steps=3, num_turns=4, repeats=1)
    assert {f"{row}{end}" for row in overlap.ROWS for end in ("", "_iqr")} == set(figures)
    return (
        figures["overlap_sync"] < figures["overlap"] < 1
        and figures["learner_idle"] < figures["learner_idle_sync"] < 1
        and figures["replica_idle"] < figures["replica_idle_sync"] < 1
    )


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.vision
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_versions_are_switched_to_idle_and_loaded() -> None:
    figures = sync.run(repeats=1)
    ratios = ("latency_ratio", "latency_ms", "stall_share", "tokens_per_s")
    assert {*sync.ROWS, *(f"{row}_iqr" for row in ratios)} == set(figures)
    assert figures["latency_ratio"] > 0
    assert figures["tokens_per_s"] > 0
    assert figures["stall_share"] < 1


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.vision
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_small_run_costs_more_than_its_engines_alone() -> None:
    small = {"num_steps": "1", "groups_per_step": "1", "group_size": "2", "env.length": "30"}
    figures = rl.run(1, **small)
    assert {f"{row}{end}" for row in rl.ROWS for end in ("", "_iqr")} == set(figures)
    assert figures["cpu_ratio_own"] > 1
    assert figures["run_ms"] > figures["engine_ms"] + figures["own_ms"]
