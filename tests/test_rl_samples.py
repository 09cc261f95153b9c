"""From played episodes to samples: the ids and pictures that were seen, and nothing made up."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.types import Completion, Turn
from learners.example import NO_LABEL
from learners.rl.samples import Sample, samples_of, share_samples
from learners.rl.source import Play, Share
from tests.builders import trajectory, turn

ANSWER = Completion(
    text="do",
    prompt_ids=(1, 2, 3),
    token_ids=(4, 5),
    logprobs=(-0.5, -1.0),
    temperature=0.7,
    version=3,
)


def answered_turn(index: int = 0, num_images: int = 0, **changes: Any) -> Turn:
    frame = f"frame {index}".encode()
    return turn(index, frame=frame, num_images=num_images, completion=replace(ANSWER, **changes))


def samples(*turns: Turn) -> list[Sample | None]:
    return samples_of(trajectory(turns=turns))


def only(*turns: Turn) -> Sample:
    sample = samples(*turns)[-1]
    assert sample is not None
    return sample


def test_the_ids_are_those_that_were_sampled() -> None:
    assert only(answered_turn()).example.ids_L.tolist() == [1, 2, 3, 4, 5]


def test_labels_are_on_the_answer_alone() -> None:
    labels = only(answered_turn()).example.labels_L.tolist()
    assert labels == [NO_LABEL, NO_LABEL, 4, 5, NO_LABEL]


def test_a_sample_tells_how_it_was_drawn() -> None:
    sample = only(answered_turn())
    assert (sample.temperature, sample.version, sample.num_tokens) == (0.7, 3, 2)
    assert sample.sampled_logprobs_T.tolist() == [-0.5, -1.0]


def test_the_engine_is_the_old_policy_until_something_else_is_known() -> None:
    sample = only(answered_turn())
    assert sample.old_logprobs_T is sample.sampled_logprobs_T


def share(*turns: Turn) -> Share:
    played = trajectory(turns=turns)
    mine = Play(group=1, number=0, spec=played.spec, trajectory=played)
    return Share(step=3, groups=(), mine=(mine,), stats={})


def test_a_rank_learns_from_those_of_its_decisions_that_were_drawn() -> None:
    lessons = {(0, 0, 0): 1.5, (1, 0, 1): -2.0}
    (found,) = share_samples(share(answered_turn(0), answered_turn(1)), lessons, 1).items()
    place, sample = found
    assert place == (1, 0, 1)
    assert sample is not None
    assert sample.advantage == -2.0


def test_a_decision_that_is_too_old_is_refused() -> None:
    with pytest.raises(ValueError, match="decision 0 is 1 versions behind step 3: max_staleness"):
        share_samples(share(answered_turn(0)), {}, 0)


def test_pictures_are_this_frame_and_those_before_it_oldest_first() -> None:
    turns = [answered_turn(index, num_images=min(index + 1, 2)) for index in range(3)]
    told = [sample.example.images for sample in samples(*turns) if sample]
    assert told == [(b"frame 0",), (b"frame 0", b"frame 1"), (b"frame 1", b"frame 2")]


def test_a_frame_that_was_only_recorded_is_not_shown() -> None:
    assert only(answered_turn(num_images=0)).example.images == ()


def test_an_empty_answer_teaches_nothing_and_keeps_its_place() -> None:
    empty = answered_turn(0, text="", token_ids=(), logprobs=())
    told = samples(empty, answered_turn(1))
    assert told[0] is None
    assert told[1] is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt_ids": ()}, "decision 0 has 0 ids of its prompt"),
        ({"token_ids": (), "logprobs": ()}, "decision 0 has a text and no ids"),
        ({"logprobs": ()}, "2 of its answer, 0 log-probabilities"),
        ({"logprobs": (-1.0,)}, "2 of its answer, 1 log-probabilities"),
        ({"temperature": None}, "temperature None: only what a vllm player sampled"),
        ({"temperature": 0.0}, "temperature 0.0: only what a vllm player sampled"),
    ],
)
def test_a_player_without_ids_is_no_teacher(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"seed_0000-sample_00: .*{words}"):
        samples(answered_turn(**changes))


def test_a_picture_that_is_missing_is_told() -> None:
    gone = replace(answered_turn(0), frame=None)
    with pytest.raises(ValueError, match="decision 1 saw 2 pictures, of which 1 are here"):
        samples(gone, answered_turn(1, num_images=2))
