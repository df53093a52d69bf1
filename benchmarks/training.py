"""Examples per second of training, beside peers, at several sizes of embedding tables.

    pip install --no-deps deepctr==0.9.4
    pip install torch==2.13.0 torch-rechub==0.9.0
    python benchmarks/training.py

20 single-valued fields of dimension 32, batches of 4096 random ids from memory, CTR and CVR. Each
model is a process of its own; they take turns, one trains while the others wait. Shown are medians
over the rounds and ratios of medians; beside dense, median and quartiles of the rounds' ratios.
"products" are the matrix products of our own step and nothing else: what the machine can do at
these shapes and this precision. Ours is trained with drawn tickets of single weights, of whole
neurons ("lt4rec_tf_neurons") and with nothing cut.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from feeds import CLICK_SHARE, DIMENSION, FIELDS, UNITS
from turns import conditions, seconds_of_rounds

from lt4rec_tf.reports.text_tables import markdown_table

DENSE = "lt4rec_tf_dense"
NETWORKS = ("lt4rec_tf", "lt4rec_tf_neurons", DENSE)
OURS = (*NETWORKS, "products")
PEERS = ("deepctr_shared_bottom", "deepctr_mmoe", "rechub_mmoe")
PRECISIONS = ("float32", "bfloat16")
HUGE_PAGES = "glibc.malloc.hugetlb=1"  # where the system leaves them to programs


def main() -> None:
    """Starts the models of each size, lets them take turns, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[5_000, 10_000, 200_000, 500_000],
        help="embedding rows of a field",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=20, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument(
        "--largest_peer", type=int, default=200_000, help="rows beyond which peers are left out"
    )
    parser.add_argument(
        "--huge_pages", action="store_true", help="every process asks the system for huge pages"
    )
    flags = parser.parse_args()

    print(conditions(flags.batch, flags.rounds, flags.steps))

    header = ["embedding rows", "model", "ms a step", "examples/s", "of first peer", "of products"]
    header.append("of dense's time (quartiles)")
    lines = []
    for rows in flags.rows:
        peers = flags.peers if rows <= flags.largest_peer else []
        models = [(name, precision) for precision in PRECISIONS for name in OURS]
        models += [(name, "float32") for name in peers]
        lines += size_lines(rows, models, seconds_of(rows, models, flags), flags.batch)
    print(markdown_table(header, lines, texts=2))


def seconds_of(
    rows: int, models: Sequence[tuple[str, str]], flags: argparse.Namespace
) -> dict[tuple[str, str], list[float]]:
    """Returns each model's seconds of a step, one number a round; the models take turns."""
    commands = {model: command_of(*model, rows, flags) for model in models}
    environment = {"GLIBC_TUNABLES": HUGE_PAGES} if flags.huge_pages else {}
    rounds = seconds_of_rounds(commands, flags.rounds, environment)
    return {model: [time / flags.steps for time in times] for model, times in rounds.items()}


def command_of(name: str, precision: str, rows: int, flags: argparse.Namespace) -> list[str]:
    """Returns what starts a model."""
    script = Path(__file__).with_name("training_models.py")
    return [
        sys.executable, str(script), name, f"--rows={rows}", f"--precision={precision}",
        f"--batch={flags.batch}", f"--steps={flags.steps}",
    ]  # fmt: skip


def size_lines(
    rows: int,
    models: Sequence[tuple[str, str]],
    seconds: Mapping[tuple[str, str], Sequence[float]],
    batch: int,
) -> list[list[str]]:
    """Returns the table's lines for one size."""
    medians = {model: statistics.median(times) for model, times in seconds.items()}
    first_peer = next((medians[model] for model in models if model[0] in PEERS), None)
    lines = []
    for name, precision in models:
        median = medians[name, precision]
        label = name if name in PEERS else f"{name}, {precision}"
        if name == "products":
            label += f" ({flop_of_step(batch) / median / 1e9:,.0f} GFLOP/s)"
        lines.append(
            [
                f"{rows * FIELDS:,}",
                label,
                f"{1000 * median:.1f}",
                f"{batch / median:,.0f}",
                f"{first_peer / median:.2f}" if first_peer and name != "products" else "",
                f"{medians['products', precision] / median:.2f}" if name == "lt4rec_tf" else "",
                of_dense(seconds[name, precision], seconds[DENSE, precision])
                if name in NETWORKS
                else "",
            ]
        )
    return lines


def of_dense(times: Sequence[float], dense: Sequence[float]) -> str:
    """Returns the median of the rounds' ratios, and their quartiles."""
    ratios = [one / other for one, other in zip(times, dense, strict=True)]
    first, median, third = statistics.quantiles(ratios, n=4)
    return f"{median:.2f} ({first:.2f} to {third:.2f})"


def flop_of_step(batch: int) -> int:
    """Returns the towers' floating-point operations, forward and backward: CVR's of clicks."""
    widths = (FIELDS**2 + FIELDS * DIMENSION, *UNITS)
    weights = sum(a * b for a, b in pairwise(widths))
    return int(2 * 3 * batch * weights * (1 + CLICK_SHARE))


if __name__ == "__main__":
    main()
