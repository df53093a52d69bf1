"""Trains on a GPU and on the processor side by side: speed and metrics, in at most five minutes.

    pip install 'tensorflow[and-cuda]==2.21.0'
    python benchmarks/gpu.py

First models of the quickstart, on the same logs: seconds of training, and each task's metric on
test beside the processor's at the same seed. What two seeds differ by on the processor says how
much such numbers move by themselves. Then the steps of benchmarks/training.py, from memory:
examples a second, as ratios of medians to the processor's.

Without a GPU the processor's side is measured alone, and the others are "not run". What finds no
time before --limit_s is not run either, and says so.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from feeds import FIELDS
from turns import conditions, seconds_of_rounds

from lt4rec_tf.reports.text_tables import markdown_table

NOT_RUN = "not run"
MODELS = ("hard_sharing", "s_gates")
METRICS = {"ctr": "auc", "cvr": "mse"}
TENSORFLOW = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"


@dataclass(frozen=True)
class Setting:
    """A device and the precision of its products.

    Attributes:
        name: As tables show it.
        precision: What --precision takes.
        variables: Of the processes' environment.
    """

    name: str
    precision: str
    variables: tuple[str, ...]


# TensorFlow multiplies float32 as TF32 where a GPU can; this variable of NVIDIA's forbids it.
PROCESSOR = Setting("processor, float32", "float32", ("CUDA_VISIBLE_DEVICES=-1",))
ON_GPU = (
    Setting("GPU, float32", "float32", ("NVIDIA_TF32_OVERRIDE=0",)),
    Setting("GPU, TF32", "float32", ()),
    Setting("GPU, bfloat16", "bfloat16", ()),
)
SHARED_GPU = "TF_FORCE_GPU_ALLOW_GROWTH=true"  # processes take turns on one GPU


@dataclass
class Clock:
    """How much of the time is left."""

    end: float
    longest: float = 0.0  # seconds of the longest measurement so far

    def has_time(self) -> bool:
        """Tells if one more measurement as long as the longest ends in time."""
        return time.monotonic() + self.longest < self.end

    def measured(self, begun: float) -> float:
        """Returns the seconds since a measurement began, and keeps the longest."""
        seconds = time.monotonic() - begun
        self.longest = max(self.longest, seconds)
        return seconds


@dataclass(frozen=True)
class Trained:
    """A training of the quickstart's models.

    Attributes:
        seconds: Of training, by model.
        metrics: By model and task, on test.
    """

    seconds: dict[str, float]
    metrics: dict[tuple[str, str], float]


def main() -> None:
    """Trains the quickstart's models by setting, times steps by setting, prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="of the quickstart")
    parser.add_argument("--impressions", type=int, default=0, help="of its logs; 0: all")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[10_000, 500_000], help="embedding rows of a field"
    )
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=20, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit_s", type=float, default=300.0, help="nothing is begun after it")
    flags = parser.parse_args()
    clock = Clock(time.monotonic() + flags.limit_s)

    gpus = number_of_gpus()
    print(f"{gpus or 'no'} GPU, {gpu_name() if gpus else 'its settings are not run'}")
    print(conditions(flags.batch, flags.rounds, flags.steps))
    settings = (PROCESSOR, *(ON_GPU if gpus else ()))
    quickstart = quickstart_by_setting(settings, flags, clock)
    print(markdown_table(*quickstart_table(quickstart, flags.models), texts=2))
    print()

    speeds = {rows: speeds_by_setting(settings, rows, flags, clock) for rows in flags.rows}
    print(markdown_table(*speed_table(speeds), texts=2))


def number_of_gpus() -> int:
    """Returns how many GPUs TensorFlow finds, asked in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", TENSORFLOW], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def gpu_name() -> str:
    """Returns the GPU's name and driver, as nvidia-smi has them."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"of unknown name ({error})"
    return done.stdout.splitlines()[0].strip()


def quickstart_by_setting(
    settings: Sequence[Setting], flags: argparse.Namespace, clock: Clock
) -> dict[tuple[str, int], Trained]:
    """Trains the quickstart's models with seed 1 by each setting, with seed 2 on the processor.

    Returns:
        By setting's name and seed; without those for which no time was left.
    """
    trained: dict[tuple[str, int], Trained] = {}
    with tempfile.TemporaryDirectory() as folder:
        for setting, seed in [*((setting, 1) for setting in settings), (PROCESSOR, 2)]:
            if clock.has_time():
                begun = time.monotonic()
                trained[setting.name, seed] = trained_by(setting, seed, Path(folder), flags)
                clock.measured(begun)
    return trained


def trained_by(setting: Setting, seed: int, folder: Path, flags: argparse.Namespace) -> Trained:
    """Trains the quickstart's models in a process of their own."""
    run = folder / f"{setting.name.replace(', ', '_')}_{seed}"
    command = [
        "env", SHARED_GPU, *setting.variables, sys.executable, "-m", "lt4rec_tf.train",
        "--flagfile=configs/quickstart.cfg", f"--models={','.join(flags.models)}",
        f"--seed={seed}", f"--precision={setting.precision}", f"--run_dir={run}",
        f"--data_dir={folder / 'feed'}",
    ]  # fmt: skip
    if flags.impressions:
        command.append(f"--simulate_rows={flags.impressions}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{setting.name}: train ended with {done.returncode}:\n{done.stderr[-2000:]}")

    entries = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["rows"]
    return Trained(
        {entry["row"]: entry["seconds"] for entry in entries},
        {
            (entry["row"], task): entry["metrics"][task][metric]
            for entry in entries
            for task, metric in METRICS.items()
        },
    )


def quickstart_table(
    trained: dict[tuple[str, int], Trained], models: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Returns header and lines: a line for each model and setting."""
    header = ["model", "setting", "seconds", "of the processor's"]
    for task, metric in METRICS.items():
        title = f"{task.upper()} {metric.upper()}"
        header += [title, "to the processor"]

    lines = []
    base = trained[PROCESSOR.name, 1]
    for model in models:
        for setting in (PROCESSOR, *ON_GPU):
            found = trained.get((setting.name, 1))
            lines.append([model, setting.name, *cells(model, found, base)])
        other = trained.get((PROCESSOR.name, 2))
        lines.append([model, f"{PROCESSOR.name}, another seed", *cells(model, other, base)])
    return header, lines


def cells(model: str, found: Trained | None, base: Trained) -> list[str]:
    """Returns a line's numbers, differences to the processor's."""
    if found is None:
        return [NOT_RUN, *[""] * (1 + 2 * len(METRICS))]
    seconds = found.seconds[model]
    line = [f"{seconds:.1f}", f"{seconds / base.seconds[model]:.2f}"]
    for task in METRICS:
        value = found.metrics[model, task]
        line += [f"{value:.5f}", f"{value - base.metrics[model, task]:+.5f}"]
    return line


def speeds_by_setting(
    settings: Sequence[Setting], rows: int, flags: argparse.Namespace, clock: Clock
) -> dict[str, float]:
    """Returns examples a second by setting's name: of medians over rounds, taken in turns."""
    if not clock.has_time():
        return {}
    begun = time.monotonic()
    script = Path(__file__).with_name("training_models.py")
    commands = {
        setting.name: [
            "env", SHARED_GPU, *setting.variables, sys.executable, str(script), "lt4rec_tf",
            f"--rows={rows}", f"--precision={setting.precision}", f"--batch={flags.batch}",
            f"--steps={flags.steps}",
        ]
        for setting in settings
    }  # fmt: skip
    seconds = seconds_of_rounds(commands, flags.rounds)
    clock.measured(begun)
    examples = flags.batch * flags.steps
    return {name: examples / statistics.median(times) for name, times in seconds.items()}


def speed_table(speeds: dict[int, dict[str, float]]) -> tuple[list[str], list[list[str]]]:
    """Returns header and lines: a line for each size of tables and setting."""
    lines = []
    for rows, by_setting in speeds.items():
        for setting in (PROCESSOR, *ON_GPU):
            line = [f"{rows * FIELDS:,}", setting.name]
            if setting.name in by_setting:
                speed = by_setting[setting.name]
                line += [f"{speed:,.0f}", f"{speed / by_setting[PROCESSOR.name]:.2f}"]
            else:
                line += [NOT_RUN, ""]
            lines.append(line)
    return ["embedding rows", "setting", "examples/s", "of the processor's"], lines


if __name__ == "__main__":
    main()
