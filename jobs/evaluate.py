"""Evaluate any number of policies side by side on the same worlds.

    python -m jobs.evaluate configs/cpu/evaluate.toml
    python -m jobs.evaluate --policies '["scripted", "random"]' --seeds 0-19 --output runs/eval

Prints a line for each episode and a table with 95 % bootstrap intervals, and writes
`summary.json` into the output folder. The same command continues a run that was stopped.
"""

from typing import TYPE_CHECKING, Any

from jobs.entry import enter

if TYPE_CHECKING:
    from cluster.types import Summary
    from configs.jobs import EvaluateConfig


def main() -> int:
    from configs.jobs import EvaluateConfig
    from configs.load import load_or_help

    return int(evaluate(load_or_help(EvaluateConfig, __doc__ or "")) > 0)


def evaluate(config: "EvaluateConfig") -> int:
    """Play, score, print and write `summary.json`; returns how many episodes ended in error."""
    import json
    from pathlib import Path

    from cluster.run_folder import RunFolder
    from cluster.scores import score
    from jobs.playing import play_all, warn_of_errors
    from jobs.report import table

    with RunFolder(config) as folder:
        homes = {policy: Path(config.output, "players", policy.name) for policy in config.policies}
        traces = {policy: home / "traces" for policy, home in homes.items()}
        origins = {policy: _origin(policy) for policy in config.policies}
        played = play_all(config, traces, config.plays)
        policies = [
            {**origins[policy], **score(played[policy]), "output_dir": str(homes[policy])}
            for policy in config.policies
        ]
        gains = _gains({policy.name: played[policy] for policy in config.policies}, config.baseline)
        summary = {
            "seeds": list(config.seeds),
            "samples": config.samples,
            "env_length": config.env.length,
            "policies": policies,
            "gains": gains,
        }
        path = folder.write_text("summary.json", json.dumps(summary, indent=2) + "\n")
    print(table(policies))
    for gain in gains:
        print(_line_of(gain))
    print(f"summary: {path}")
    return warn_of_errors({policy.name: played[policy] for policy in config.policies})


def _origin(policy: Any) -> dict[str, Any]:
    """Who plays; raises UserError where its adapter is not there."""
    from pathlib import Path

    from actors.adapter import read_adapter
    from cluster.adapter_files import digest

    adapter = getattr(policy, "adapter", None)
    told = {"adapter_sha256": digest(read_adapter(Path(adapter)))} if adapter else {}
    model = getattr(policy, "model", policy.kind)
    return {"name": policy.name, "model": model, "provider": policy.kind, **told}


def _line_of(gain: dict[str, Any]) -> str:
    low, high = gain["achievements_ci"]
    return (
        f"{gain['policy']} over {gain['baseline']}: {gain['achievements']:+.2f} achievements "
        f"[{low:+.2f}, {high:+.2f}], world by world"
    )


def _gains(played: "dict[str, list[Summary]]", baseline: str | None) -> list[dict[str, Any]]:
    from cluster.scores import gain

    if baseline is None:
        return []
    return [
        {"policy": name, "baseline": baseline, **gain(summaries, played[baseline])}
        for name, summaries in played.items()
        if name != baseline
    ]


if __name__ == "__main__":
    enter(main)
