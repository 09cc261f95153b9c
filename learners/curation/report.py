"""What an export did, for its statistics file and for the terminal."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.curation import ExportConfig
from learners.curation.curate import Plan
from learners.curation.write import Side


def statistics(config: ExportConfig, plan: Plan, sides: Mapping[str, Side]) -> dict[str, Any]:
    """What each rule kept and removed, in order; which episodes stayed; what each side holds."""
    return {
        "config": config.model_dump(mode="json"),
        "episodes": {
            "read": plan.episodes_read,
            "rules": [asdict(count) for count in plan.episode_counts],
            "kept": list(plan.episodes),
        },
        "rows": {
            "read": plan.rows_read,
            "rules": [asdict(count) for count in plan.row_counts],
        },
        **{name: side.told() for name, side in sides.items()},
    }


def report(output: Path, plan: Plan, sides: Mapping[str, Side]) -> Iterator[str]:
    """A table of the rules, then a line for each file of examples."""
    blocks = (
        ("episodes", plan.episodes_read, plan.episode_counts),
        ("decisions of these", plan.rows_read, plan.row_counts),
    )
    yield f"{'rule':<26}{'kept':>10}{'removed':>10}"
    for title, number, counts in blocks:
        yield f"{title:<26}{number:>10}"
        for count in counts:
            yield f"  {count.rule:<24}{count.kept:>10}{count.removed:>10}"
    for name, side in sides.items():
        if side.num_not_back:
            yield (
                f"{name}: {side.num_not_back} of {side.num_sampled} sampled examples do not "
                "tokenise back; they are trained on the ids as sampled"
            )
        for kind in ("parquet", "jsonl"):
            yield f"Wrote {side.num_rows} examples -> {output / f'{name}.{kind}'}"
