"""Examples per second with a history of clicked items, beside peers' DIN.

    pip install --no-deps deepctr==0.9.4
    pip install torch==2.13.0 torch-rechub==0.9.0
    python benchmarks/history.py

Each model is a process of its own; they take turns, one trains while the others wait. Shown are
medians over the rounds, and ratios of medians to the faster peer. A row has between no event and
`--lengths` many, all numbers equally often. Models: benchmarks/history_models.py.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from turns import conditions, seconds_of_rounds

from lt4rec_tf.reports.text_tables import markdown_table

OURS = ("mean", "attention", "transformer")
PEERS = ("deepctr_din", "rechub_din")


def main() -> None:
    """Starts the models of each length, lets them take turns, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 50, 200])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=10, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=[*OURS, *PEERS], choices=[*OURS, *PEERS])
    flags = parser.parse_args()

    print(conditions(flags.batch, flags.rounds, flags.steps))
    lines = []
    for length in flags.lengths:
        medians = medians_of(length, flags)
        best = min((medians[name] for name in PEERS if name in medians), default=None)
        for name, seconds in medians.items():
            label = name if name in PEERS else f"lt4rec_tf, {name}"
            ratio = f"{best / seconds:.2f}" if best else ""
            speed = f"{flags.batch / seconds:,.0f}"
            lines.append([str(length), label, f"{1000 * seconds:.0f}", speed, ratio])
    header = ["most events", "model", "ms a step", "examples/s", "of the faster peer"]
    print(markdown_table(header, lines, texts=2))


def medians_of(length: int, flags: argparse.Namespace) -> dict[str, float]:
    """Returns each model's median seconds of a step."""
    script = str(Path(__file__).with_name("history_models.py"))
    sizes = [f"--length={length}", f"--batch={flags.batch}", f"--steps={flags.steps}"]
    commands = {name: [sys.executable, script, name, *sizes] for name in flags.models}
    rounds = seconds_of_rounds(commands, flags.rounds)
    return {name: statistics.median(times) / flags.steps for name, times in rounds.items()}


if __name__ == "__main__":
    main()
