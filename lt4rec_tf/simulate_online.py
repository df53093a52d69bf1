"""Table 3 of LT4REC on the simulated feed: what rankings by a run's models earn in sessions.

    python -m lt4rec_tf.simulate_online --runs=runs/quickstart-0123456789/seed_1
    python -m lt4rec_tf.simulate_online --runs=runs/compare_simulated-0123456789

A folder of `compare` stands for a run of each of its seeds, with the models as validation chose
them.
"""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lt4rec_tf.core import artifacts, command
from lt4rec_tf.core.flags import (
    SEEDS,
    build,
    check_fields,
    expect,
    flag,
    from_settings,
    parse_flags,
)
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.data.simulator.exposure import MAX_POSITIONS
from lt4rec_tf.data.simulator.kinds import open_feed
from lt4rec_tf.data.simulator.sessions import Exponents, SessionPlan
from lt4rec_tf.experiment import online_simulation
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.online_simulation import NAMES, POLICIES
from lt4rec_tf.reports.online import by_policy, online_table


@dataclass(frozen=True)
class _Flags:
    runs: tuple[str, ...] = flag(
        (),
        "Folders of trained runs on one simulated feed, such as its seeds, or of comparisons.",
        required=True,
        expected="folders of trained runs",
    )
    data_dir: str = flag("", "Where the runs' logs lie now, if not where they were.")
    sessions: int = flag(4000, "Sessions that every policy serves.", at_least=1)
    requests: int = flag(5, "Requests of a session.", at_least=1)
    candidates: int = flag(50, "Videos that a request can choose from.", at_least=1)
    shown: int = flag(4, f"Videos that a request shows, at most {MAX_POSITIONS}.")
    ctr_exponent: float = flag(1.0, "a of Eq. 3, pctr^a * pcvr^b * length^c.", below=math.inf)
    cvr_exponent: float = flag(1.0, "b of Eq. 3.", below=math.inf)
    length_exponent: float = flag(1.0, "c of Eq. 3.", below=math.inf)
    seed: int = flag(1, "Seed of the sessions and of the intervals.", **SEEDS)
    output: str = flag("", "JSON file that gets every number; none: the table is only printed.")


def main(argv: Sequence[str]) -> None:
    """Serves the same sessions by every policy of every run; prints and writes the results."""
    flags = build(_Flags, parse_flags(argv, __doc__ or "", [_Flags]))
    check(flags)
    plan = from_settings(SessionPlan, flags)
    exponents = Exponents(flags.ctr_exponent, flags.cvr_exponent, flags.length_exponent)

    folders_of_runs = []
    for run in flags.runs:
        folders_of_runs += online_simulation.folders_by_model(Path(run))
    opened = [
        open_run(str(next(iter(folders.values()))), flags.data_dir) for folders in folders_of_runs
    ]
    settings = online_simulation.shared_feed([source for *_, source in opened])
    feed = open_feed(settings)

    rows = plan.sessions_of_block * plan.requests * plan.candidates
    totals = []
    with Progress(len(opened) * plan.blocks, rows) as progress:
        for folders, (folder, _, schema, source) in zip(folders_of_runs, opened, strict=True):
            networks = online_simulation.load_networks(folders, schema)
            progress.start_stage(str(folder), 1, plan.blocks)
            predict = online_simulation.predictor(networks, feed, source, folder)
            totals.append(online_simulation.serve(feed, plan, exponents, predict, progress))
            progress.end_epoch({})

    ratios = online_simulation.measure(np.stack(totals), plan)
    print(online_table(NAMES, ratios))
    if flags.output:
        settings_of_result = dataclasses.asdict(flags)
        del settings_of_result["output"]
        result = {
            "settings": settings_of_result,
            "feed": dataclasses.asdict(settings),
            "day": settings.days,
            "rows": POLICIES,
            "policies": by_policy(NAMES, [str(folder) for folder, *_ in opened], ratios),
        }
        artifacts.write_json(Path(flags.output), artifacts.undefined_as_null(result))
        print(f"\nwritten to {flags.output}")


def check(flags: _Flags) -> None:
    """Refuses flags that no sessions can have.

    Raises:
        ConfigError: Naming the flag, what was found and what was expected.
    """
    check_fields(flags)
    folders = {Path(name).resolve() for name in flags.runs}
    distinct = len(folders) == len(flags.runs)
    expect(distinct, "runs", flags.runs, "different runs: each counts once")
    most = min(MAX_POSITIONS, flags.candidates)
    expect(1 <= flags.shown <= most, "shown", flags.shown, f"1 to {most}")


if __name__ == "__main__":
    command.run(main)
