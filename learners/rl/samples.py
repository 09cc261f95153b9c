"""From a played episode to what its decisions teach. Pure.

What is learned from is the ids that the engine read and drew, never a text tokenised again.
Axes: T decisions of an episode, or sampled tokens of one of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cluster.types import Trajectory, Turn
from learners.example import Example, answered
from learners.rl.plan import Place
from learners.rl.progress import version_after
from learners.rl.source import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A decision to learn from."""

    example: Example
    """Its labels are the sampled tokens."""
    advantage: float
    """How much better than its group it was, or what stands for that."""
    sampled_logprobs_T: npt.NDArray[np.float32]
    """What the engine said of its tokens, nats, at the temperature of sampling."""
    old_logprobs_T: npt.NDArray[np.float32]
    """What the ratio is against: the engine's, or the learner's before the step."""
    temperature: float
    version: int
    """Of the policy that answered."""

    @property
    def num_tokens(self) -> int:
        """Sampled."""
        return len(self.sampled_logprobs_T)


def share_samples(
    share: Share, lessons: Mapping[Place, float], max_staleness: int
) -> dict[Place, Sample | None]:
    """What the decisions of a rank's share teach, as `samples_of`.

    Args:
        share: the rank's.
        lessons: the decisions to learn from -> their advantages; those of other ranks too.
        max_staleness: versions that a decision may be behind.

    Raises:
        ValueError: as `samples_of`, an episode is not here, or a decision is staler than allowed.
    """
    found: dict[Place, Sample | None] = {}
    for play in share.mine:
        if play.trajectory is None:
            raise ValueError(f"{play.spec.id} is not here")
        for turn, sample in enumerate(samples_of(play.trajectory)):
            place = play.group, play.number, turn
            lag = 0 if sample is None else version_after(share.step) - sample.version
            if not 0 <= lag <= max_staleness:
                raise ValueError(
                    f"{play.spec.id}, decision {turn} is {lag} versions behind step {share.step}: "
                    f"max_staleness is {max_staleness}"
                )
            if place in lessons:
                found[place] = sample and replace(sample, advantage=lessons[place])
    return found


def samples_of(trajectory: Trajectory) -> list[Sample | None]:
    """Every decision, with no advantage yet; None where the answer was empty: it teaches nothing.

    Raises:
        ValueError: the player told no ids or log-probabilities, or a picture is missing.
    """
    turns = trajectory.turns
    try:
        return [_sample(turns[: t + 1]) for t in range(len(turns))]
    except ValueError as error:
        raise ValueError(f"{trajectory.spec.id}: {error}") from None


def _sample(turns: tuple[Turn, ...]) -> Sample | None:
    """Of the last of these."""
    turn, answer = turns[-1], turns[-1].completion
    num_tokens = len(answer.token_ids)
    if not (answer.prompt_ids and answer.temperature) or len(answer.logprobs) != num_tokens:
        raise ValueError(
            f"decision {turn.index} has {len(answer.prompt_ids)} ids of its prompt, {num_tokens} "
            f"of its answer, {len(answer.logprobs)} log-probabilities and temperature "
            f"{answer.temperature}: only what a vllm player sampled can be learned from"
        )
    if not num_tokens:
        if answer.text:
            raise ValueError(f"decision {turn.index} has a text and no ids")
        return None
    logprobs_T = np.array(answer.logprobs, np.float32)
    return Sample(
        example=answered(answer.prompt_ids, answer.token_ids, _pictures(turns)),
        advantage=0.0,
        sampled_logprobs_T=logprobs_T,
        old_logprobs_T=logprobs_T,
        temperature=answer.temperature,
        version=answer.version,
    )


def _pictures(turns: tuple[Turn, ...]) -> list[bytes]:
    """What the last of these saw: its frame and those of the turns before it, oldest first."""
    turn = turns[-1]
    seen = turns[-turn.num_images :] if turn.num_images else ()
    frames = [other.frame for other in seen if other.frame is not None]
    if len(frames) != turn.num_images:
        raise ValueError(
            f"decision {turn.index} saw {turn.num_images} pictures, of which {len(frames)} are here"
        )
    return frames
