"""Writes a simulated feed; see `writer`."""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow, exit_on_error
from lt4rec_tf.core.start_lines import compute_once

if __name__ == "__main__":
    before_tensorflow()
    compute_once()

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from lt4rec_tf.data.simulator import writer
from lt4rec_tf.data.simulator.world import FeedSettings


def main(argv: Sequence[str]) -> None:
    """Writes a log with settings from the command line, the program's name first."""
    options = vars(_parser().parse_args(argv[1:]))
    directory = options.pop("dir")
    manifest = writer.simulate(directory, FeedSettings(**options))

    purchases = ""
    if manifest.purchase_rate is not None:
        purchases = (
            f", {manifest.purchase_rate:.3f} purchase, mean amount {manifest.mean_amount:.2f}"
        )
    reactions = "".join(
        f", {rate:.3f} {name}" for name, rate in (manifest.reaction_rates or {}).items()
    )
    print(
        f"{directory}: {manifest.rows} impressions in {len(manifest.shards)} shards, "
        f"click rate {manifest.click_rate:.3f}, of clicks {manifest.complete_rate:.3f} complete, "
        f"mean watch ratio {manifest.watch_ratio:.3f}{purchases}{reactions}"
    )


def _parser() -> argparse.ArgumentParser:
    """Makes a parser with an option for each setting."""
    parser = argparse.ArgumentParser(
        prog="python -m lt4rec_tf.data.simulator",
        description=writer.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dir", required=True, type=Path, help="where to write")
    for field in fields(FeedSettings):
        kind: dict[str, Any] = {"type": type(field.default), "metavar": "VALUE"}
        if isinstance(field.default, bool):  # type=bool would take any text, "0" too, for true
            kind = {"action": argparse.BooleanOptionalAction}
        parser.add_argument(f"--{field.name}", default=field.default, **kind)
    return parser


if __name__ == "__main__":
    sys.exit(exit_on_error(main, sys.argv, resumes=""))
