"""Which policy version a turn is played with, and which versions may still be asked for."""

import pytest

from actors.policies.vllm import VllmPolicy
from cluster.types import Completion, EpisodeSpec, GenerationRequest, Prompt
from cluster.versions import Order, Served, TurnVersions
from configs.player import VllmPlayer
from tests.builders import START


def test_a_pinned_episode_keeps_its_version() -> None:
    versions = TurnVersions("pinned")
    turn = versions.of_turns(2, is_pinned=False)
    versions.hear(3)
    assert turn() == 2


def test_an_episode_of_the_newest_goes_on_with_what_the_worker_has_heard_of() -> None:
    versions = TurnVersions("newest")
    turn = versions.of_turns(2, is_pinned=False)
    assert turn() == 2
    versions.hear(3)
    assert turn() == 3


def test_an_evaluation_stays_with_its_version_among_the_newest() -> None:
    versions = TurnVersions("newest")
    turn = versions.of_turns(2, is_pinned=True)
    versions.hear(3)
    assert turn() == 2


def test_a_worker_remembers_the_highest_version() -> None:
    versions = TurnVersions("newest")
    assert versions.newest is None
    for version in (3, None, 1):
        versions.hear(version)
    assert versions.newest == 3


async def test_a_policy_asks_for_the_version_at_every_turn() -> None:
    asked: list[GenerationRequest] = []

    async def generate(request: GenerationRequest) -> Completion:
        asked.append(request)
        return Completion(text="")

    numbers = iter((4, 5))
    player = VllmPlayer(kind="vllm", model="tiny")
    policy = VllmPolicy(player, 4, lambda: next(numbers), generate)
    for turn in range(2):
        spec = EpisodeSpec(seed=0)
        await policy.act(Prompt(system="", text="", observation=START, spec=spec, turn=turn))
    assert [request.version for request in asked] == [4, 5]


def served(are_turns_newest: bool) -> Served:
    versions = Served(are_turns_newest, num_recent=1)
    for version in (1, 2, 3):
        versions.add(version)
    return versions


def test_a_version_is_served_once_and_never_after_a_higher_one() -> None:
    versions = served(False)
    assert not versions.add(3)
    assert not versions.add(2)
    assert versions.newest == 3


@pytest.mark.parametrize(("are_turns_newest", "in_use"), [(False, (1, 3)), (True, (2, 3))])
def test_what_is_under_way_is_in_use(are_turns_newest: bool, in_use: tuple[int, ...]) -> None:
    under_way = [Order(1, is_pinned=False), Order(3, is_pinned=False)]
    assert served(are_turns_newest).in_use(under_way) == in_use


def test_an_evaluation_under_way_is_in_use() -> None:
    assert served(True).in_use([Order(1, is_pinned=True)]) == (1, 2, 3)
