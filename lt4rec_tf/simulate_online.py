"""Table 3 of LT4REC on the simulated feed: what rankings by a run's rows earn in sessions.

    python -m lt4rec_tf.simulate_online --runs=runs/quickstart-0123456789/seed_1
    python -m lt4rec_tf.simulate_online --runs=runs/compare_simulated-0123456789

A folder of `compare` stands for a run of each of its seeds, with the rows as validation chose them.
"""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.flags import ConfigError, flag, parse_flags
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.data.simulator.exposure import MAX_POSITIONS
from lt4rec_tf.data.simulator.feed import Feed
from lt4rec_tf.data.simulator.sessions import (
    Exponents,
    SessionPlan,
)
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.online_simulation import (
    NAMES,
    POLICIES,
    load_networks,
    measure,
    places_of,
    predictor,
    serve,
    shared_feed,
)
from lt4rec_tf.reports.online import by_policy, online_table


@dataclass(frozen=True)
class _Flags:
    runs: tuple[str, ...] = flag(
        (), "Folders of trained runs on one simulated feed, such as its seeds, or of comparisons."
    )
    data_dir: str = flag("", "Where the runs' logs lie now, if not where they were.")
    sessions: int = flag(4000, "Sessions that every policy serves.")
    requests: int = flag(5, "Requests of a session.")
    candidates: int = flag(50, "Videos that a request can choose from.")
    shown: int = flag(4, f"Videos that a request shows, at most {MAX_POSITIONS}.")
    ctr_exponent: float = flag(1.0, "a of Eq. 3, pctr^a * pcvr^b * length^c.")
    cvr_exponent: float = flag(1.0, "b of Eq. 3.")
    length_exponent: float = flag(1.0, "c of Eq. 3.")
    seed: int = flag(1, "Seed of the sessions and of the intervals.")
    output: str = flag("", "JSON file that gets every number; none: the table is only printed.")


def main(argv: Sequence[str]) -> None:
    """Lets every policy of every run serve the same sessions; prints and writes what they earn."""
    values = parse_flags(argv, __doc__ or "", [_Flags])
    check(values)
    plan = SessionPlan(*(values[field.name] for field in dataclasses.fields(SessionPlan)))
    exponents = Exponents(*(values[f"{name}_exponent"] for name in ("ctr", "cvr", "length")))
    served = [places for run in values["runs"] for places in places_of(Path(run))]
    opened = [open_run(str(next(iter(p.values()))), values["data_dir"]) for p in served]
    settings = shared_feed([source for *_, source in opened])
    feed = Feed(settings)
    rows = plan.sessions_of_block * plan.requests * plan.candidates
    totals = []
    with Progress(len(opened) * plan.blocks, rows) as progress:
        for places, (folder, _, schema, source) in zip(served, opened, strict=True):
            networks = load_networks(places, schema)
            progress.start_stage(str(folder), 1, plan.blocks)
            predict = predictor(networks, feed, source, folder)
            totals.append(serve(feed, plan, exponents, predict, progress))
            progress.end_epoch({})
    found = measure(np.stack(totals), plan)
    print(online_table(NAMES, found))
    if values["output"]:
        asked = {field.name: values[field.name] for field in dataclasses.fields(_Flags)}
        result = {
            "settings": {name: value for name, value in asked.items() if name != "output"},
            "feed": dataclasses.asdict(settings),
            "day": settings.days,
            "rows": POLICIES,
            "policies": by_policy(NAMES, [str(folder) for folder, *_ in opened], found),
        }
        artifacts.write_json(Path(values["output"]), artifacts.undefined_as_null(result))
        print(f"\nwritten to {values['output']}")


def check(values: Mapping[str, Any]) -> None:
    """Refuses flags that no sessions can have.

    Raises:
        ConfigError: Naming the flag, what was found and what was expected.
    """

    def expect(holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise ConfigError(f"--{name}: found {values[name]!r}, expected {expected}")

    folders = [Path(name).resolve() for name in values["runs"]]
    expect(len(folders) > 0, "runs", "folders of trained runs")
    expect(len(set(folders)) == len(folders), "runs", "different runs: each counts once")
    for name in ("sessions", "requests", "candidates"):
        expect(values[name] >= 1, name, "1 or more")
    most = min(MAX_POSITIONS, values["candidates"])
    expect(1 <= values["shown"] <= most, "shown", f"1 to {most}")
    expect(values["seed"] >= 0, "seed", "0 or more")
    for name in ("ctr_exponent", "cvr_exponent", "length_exponent"):
        expect(math.isfinite(values[name]), name, "a finite number")


if __name__ == "__main__":
    sys.exit(exit_on_error(main, sys.argv))
