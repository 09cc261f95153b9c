"""Build the tiny Qwen3-VL from a seed: `python -m jobs.tiny_model --seed 0 --output FOLDER`."""

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Build the tiny Qwen3-VL, untrained: weights, tokenizer, template, processor.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()

    from learners.tiny_model import build_tiny_model

    num_parameters = build_tiny_model(arguments.seed, arguments.output)
    size = sum(path.stat().st_size for path in arguments.output.iterdir())
    print(f"{arguments.output}: {num_parameters:,} parameters, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
