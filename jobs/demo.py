"""The whole of Pickaxe on this machine, in small.

    python -m jobs.demo

The embedded teacher plays and its play is stored; then teacher, random play and the tiny
vision-language model, served by a real vLLM, play the same worlds. Ends with a table and the
places of the frames, a video of each player and the summary. Started again, it continues.
"""

import sys

from jobs.entry import enter


def main() -> int:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    from pathlib import Path

    from cluster.session import connect
    from configs.jobs import ClusterConfig, CollectConfig, EvaluateConfig
    from configs.load import load
    from jobs.collect import collect
    from jobs.evaluate import evaluate
    from jobs.export import default_output, export

    presets = Path(__file__).parent.parent / "configs" / "cpu"
    teaching = load(CollectConfig, [str(presets / "demo_collect.toml")])
    evaluation = load(EvaluateConfig, [str(presets / "demo_evaluate.toml")])
    with connect(ClusterConfig(address="local")):
        print("1/3 the teacher plays, and its play is stored", flush=True)
        num_errors = collect(teaching)
        print("\n2/3 three players on the same worlds", flush=True)
        num_errors += evaluate(evaluation)
    print("\n3/3 pictures", flush=True)
    folder = Path(evaluation.output)
    whole = [export(folder, form, default_output(folder, form), 1) for form in ("frames", "video")]
    return int(num_errors > 0 or not all(whole))


if __name__ == "__main__":
    enter(main)
