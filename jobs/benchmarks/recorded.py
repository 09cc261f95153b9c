"""What a run has asked of its engine and learned from, out of its folder, to be done again bare."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors.bare import Policy
    from cluster.canary import Canary
    from cluster.types import EpisodeSpec, GenerationRequest, Trajectory
    from configs.rl import RlConfig
    from learners.rl.source import Share


def requests(config: "RlConfig", played: "Sequence[Trajectory]") -> "list[GenerationRequest]":
    """Version by version, the first decisions of all episodes, then the second ones, and so on."""
    from actors.policies.vllm import sampling_seed
    from cluster.types import GenerationRequest

    asked = [
        GenerationRequest(
            system=turn.system,
            text=turn.text,
            images=() if turn.frame is None else (turn.frame,),
            max_actions=config.prompt.max_actions,
            temperature=config.policy.temperature,
            top_p=config.policy.top_p,
            max_tokens=config.policy.max_tokens,
            seed=sampling_seed(one.spec, turn.index),
            version=turn.completion.version,
        )
        for index in range(max(len(one.turns) for one in played))
        for one in played
        for turn in one.turns[index : index + 1]
    ]
    return sorted(asked, key=lambda request: request.version)


def policies(config: "RlConfig", canary: "Canary") -> "dict[int, Policy]":
    """Every version that has played, with the learner's word; `canary` is any of the run's."""
    from actors.adapter import read_adapter
    from actors.bare import Policy
    from learners.checkpoints import ADAPTER
    from learners.rl.keeper import CANARY, checkpoints_of
    from learners.rl.progress import version_after

    found = {}
    for step in range(config.num_steps):
        folder = checkpoints_of(config).path(step)
        told = json.loads((folder / CANARY).read_text(encoding="utf-8"))
        logprobs = {int(token): float(value) for token, value in told.items()}
        files = read_adapter(folder / ADAPTER)
        found[version_after(step)] = Policy(files, replace(canary, logprobs=logprobs))
    return found


def batches(config: "RlConfig", played: "Sequence[Trajectory]") -> "list[Share]":
    """Of every step, as one rank saw them."""
    from jobs.rl_play import training_of

    setup = training_of(config).groups
    by_spec = {one.spec: one for one in played}
    trained: set[int] = set()
    shares = []
    for step in range(config.num_steps):
        so_far = _trained(config, step + 1)
        groups = [setup.specs(index) for index in sorted(so_far - trained)]
        shares.append(_share(step, groups, by_spec))
        trained = so_far
    return shares


def _trained(config: "RlConfig", num_steps: int) -> set[int]:
    """Groups in the batches of the first steps."""
    from learners.rl.keeper import LEDGER, checkpoints_of

    text = (checkpoints_of(config).path(num_steps) / LEDGER).read_text(encoding="utf-8")
    return set(json.loads(text)["groups"]["tally"]["groups"])


def _share(
    step: int,
    groups: "Sequence[Sequence[EpisodeSpec]]",
    by_spec: "dict[EpisodeSpec, Trajectory]",
) -> "Share":
    from cluster.credit import credit_of
    from learners.rl.source import Play, Share

    credits = [[credit_of(by_spec[spec]) for spec in group] for group in groups]
    plays = [
        Play(group=group, number=number, spec=spec, trajectory=by_spec[spec])
        for group, specs in enumerate(groups)
        for number, spec in enumerate(specs)
    ]
    return Share(
        step=step,
        groups=tuple(tuple(one for one in group if one is not None) for group in credits),
        mine=tuple(plays),
        stats={},
    )
