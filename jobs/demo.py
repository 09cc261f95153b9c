"""The whole of Pickaxe on this machine, in small.

    python -m jobs.demo

The embedded teacher plays; its play becomes examples; the tiny vision-language model learns from
them (LoRA, on Ray Train), then from its own play (RL). At the end random play, the model as it
was, after each training, and the teacher play the same worlds. Ends with a table and the places of
the summary, the learning curves and a video of each player. Started again, it continues.
"""

import sys
from typing import TYPE_CHECKING, TypeVar

from jobs.entry import enter

if TYPE_CHECKING:
    from pydantic import BaseModel

Config = TypeVar("Config", bound="BaseModel")


def main() -> int:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    from cluster.session import connect
    from configs.jobs import ClusterConfig

    with connect(ClusterConfig(address="local")):
        is_whole = _learn()
        return int(not (_compare() and is_whole))


def _learn() -> bool:
    """From the teacher's play to two adapters; false if an episode ended in error."""
    from configs.curation import ExportConfig
    from configs.jobs import CollectConfig
    from configs.rl import RlConfig
    from configs.sft import SftConfig
    from jobs.collect import collect
    from jobs.export_sft import export_sft
    from jobs.rl import reinforce
    from jobs.sft import fine_tune

    _say("1/5 the teacher plays, and its play is stored")
    num_errors = collect(_preset(CollectConfig, "collect"))
    _say("2/5 its play becomes examples")
    is_whole = export_sft(_preset(ExportConfig, "export"))
    _say("3/5 the model learns from them")
    fine_tune(_preset(SftConfig, "sft"))
    _say("4/5 the model learns from its own play")
    reinforce(_preset(RlConfig, "rl"))
    return is_whole and not num_errors


def _compare() -> bool:
    """Everybody on the same worlds, and a video of each; false if something was left out."""
    from pathlib import Path

    from configs.jobs import EvaluateConfig
    from jobs.evaluate import evaluate
    from jobs.export import default_output, export

    _say("5/5 five players on the same worlds")
    evaluation = _preset(EvaluateConfig, "evaluate")
    num_errors = evaluate(evaluation)
    folder = Path(evaluation.output)
    is_whole = export(folder, "video", default_output(folder, "video"), 1)
    print("learning curves: runs/demo/sft/curves.png, runs/demo/rl/curves.png")
    return is_whole and not num_errors


def _preset(schema: "type[Config]", name: str) -> "Config":
    from pathlib import Path

    from configs.load import load

    presets = Path(__file__).parent.parent / "configs" / "cpu"
    return load(schema, [str(presets / f"demo_{name}.toml")])


def _say(stage: str) -> None:
    print(f"\n{stage}", flush=True)


if __name__ == "__main__":
    enter(main)
