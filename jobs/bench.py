"""Measure Pickaxe: ratios within one run, start-up excluded, medians of interleaved repeats.

    python -m jobs.bench env
    python -m jobs.bench rollout --json

Names: env, rollout, collect, learner, ledger, sync, overlap, rl. With --json the last line is one
JSON object.
"""

import argparse
import importlib
import json

from jobs.entry import enter

_NAMES = ("env", "rollout", "collect", "learner", "ledger", "sync", "overlap", "rl")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=_NAMES)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    arguments = parser.parse_args()
    bench = importlib.import_module(f"jobs.benchmarks.{arguments.name}")
    figures: dict[str, float] = bench.run()
    for name, value in figures.items():
        if not name.endswith("_iqr"):
            spread = figures.get(f"{name}_iqr")
            around = "" if spread is None else f"  (quartiles {spread:.3g} apart)"
            print(f"{name:<24}{value:>12.4g}{around}  {bench.ROWS.get(name, '')}")
    if arguments.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    enter(main)
