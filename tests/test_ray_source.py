"""What a rank asks of actors that may be restarted in between."""

from pathlib import Path
from typing import Any

import pytest

from cluster.training.dealing import Share
from cluster.training.evaluations import Evaluation, World
from learners.rl import ray_source
from learners.rl.ray_source import RaySource
from learners.rl.source import PolicyVersion
from tests.light_replica import CANARY


class Remote:
    """Answers each call at once: by name, a list of answers in their order, the last one again."""

    def __init__(self, **answers: list[Any]) -> None:
        self._answers = answers
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> "Remote":
        self._name = name
        return self

    def remote(self, *arguments: Any) -> Any:
        self.calls.append((self._name, *arguments))
        answers = self._answers.get(self._name, [None])
        return answers.pop(0) if len(answers) > 1 else answers[0]


def evaluation(step: int) -> Evaluation:
    world = World(seed=0, total_reward=float(step), achievements=())
    return Evaluation(step=step, version=step + 1, worlds=(world,))


def test_an_evaluation_that_was_told_outlives_a_ledger_that_forgot_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_source.ray, "get", lambda answer: answer)
    monkeypatch.setattr(ray_source.time, "sleep", lambda _: None)
    monkeypatch.setattr(ray_source.ray, "put", lambda files: files)
    first, second = evaluation(2), evaluation(4)
    ledger = Remote(evaluations=[(first,), (), (second,)])
    source = RaySource(ledger, Remote(), tmp_path, 0, 1)
    for step in (2, 4):
        source.evaluate(step, PolicyVersion(version=step + 1, files={}, canary=CANARY))
    assert [one.step for one in source.evaluations(wait_for=[2, 4])] == [2, 4]
    asked = [call for call in ledger.calls if call[0] == "evaluate"]
    assert asked == [("evaluate", step, step + 1) for step in (2, 4, 4, 4)]


def test_a_ledger_that_has_no_batch_is_told_again_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been killed before a worker heard of it, and wait for that version."""
    monkeypatch.setattr(ray_source.ray, "get", lambda answer: answer)
    monkeypatch.setattr(ray_source.ray, "put", lambda files: files)
    share = Share(step=1, groups=(), mine=(), stats={})
    ledger = Remote(batch=[None, None, share])
    source = RaySource(ledger, Remote(), tmp_path, 0, 1)
    source.publish(PolicyVersion(version=2, files={}, canary=CANARY))
    assert source.batch(1).step == 1
    assert [call for call in ledger.calls if call[0] == "serve"] == [("serve", 2)] * 3
