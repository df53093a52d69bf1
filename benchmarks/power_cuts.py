"""Cuts the power of a run at random moments: does the same command go on, with equal numbers?

    sudo python benchmarks/power_cuts.py

The run's logs and output lie on a disk image. At each moment the run is stopped, the image is
copied, and the run goes on: the copy holds what had reached the disk by then, as a machine finds it
that lost its power. Afterwards each copy is mounted in the image's place and the same command is
run again. Prints, for each cut, what the disk held and whether the run's numbers are those of a run
without a cut. Linux, root and mkfs.ext4.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lt4rec_tf.reports.text_tables import markdown_table

FLAGS = (
    "--flagfile=configs/simulated_one_pass.cfg",
    "--simulate_rows=6000",
    "--models=base,s_weight",
    "--rounds=2",
    "--checkpoint_steps=5",
)


def main() -> None:
    """Runs without a cut, then with cuts, then goes on from every copy; prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--megabytes", type=int, default=256, help="of the disk image")
    flags = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        image, disk = Path(folder) / "image", Path(folder) / "disk"
        disk.mkdir()
        with image.open("wb") as file:
            file.truncate(flags.megabytes * 2**20)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)

        unbroken, seconds = numbers_of(disk_folder(Path(folder) / "unbroken"))
        moments = random.Random(flags.seed)
        copies = cut_run(
            image, disk, sorted(moments.uniform(0, seconds) for _ in range(flags.cuts))
        )

        lines = []
        for moment, copy in copies:
            with mounted(copy, disk):
                files = sum(path.is_file() for path in disk.rglob("*"))
                found, taken = numbers_of(disk)
            equal = "yes" if found == unbroken else f"NO: {str(found)[:200]}"
            lines.append([f"{moment:.1f}", str(files), f"{taken:.0f}", equal])
            copy.unlink()
    header = ["cut at, s", "files on the disk", "then, s", "equal numbers"]
    print(f"a run without a cut: {seconds:.0f} s\n\n{markdown_table(header, lines)}")


def disk_folder(folder: Path) -> Path:
    """Makes a folder."""
    folder.mkdir()
    return folder


def command(disk: Path) -> list[str]:
    """Returns the run's command."""
    places = [f"--data_dir={disk / 'feed'}", f"--run_dir={disk / 'run'}"]
    return [sys.executable, "-m", "lt4rec_tf.train", *FLAGS, *places]


def numbers_of(disk: Path) -> tuple[Any, float]:
    """Runs the command to its end; returns its numbers, or its error, and its seconds."""
    begun = time.monotonic()
    done = subprocess.run(command(disk), check=False, capture_output=True, text=True)
    seconds = time.monotonic() - begun
    if done.returncode:
        return done.stderr.strip().splitlines()[-1:], seconds
    evaluation = json.loads((disk / "run" / "evaluation.json").read_text(encoding="utf-8"))
    models = evaluation["rows"]
    return [{"row": one["row"], "metrics": one["metrics"]} for one in models], seconds


def cut_run(image: Path, disk: Path, moments: list[float]) -> list[tuple[float, Path]]:
    """Runs the command on the image; returns the copies that were made at some moments."""
    copies = []
    with mounted(image, disk):
        begun = time.monotonic()
        run = subprocess.Popen(command(disk), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stopped = 0.0  # seconds
        for number, moment in enumerate(moments):
            while time.monotonic() - begun - stopped < moment and run.poll() is None:
                time.sleep(0.01)
            before = time.monotonic()
            run.send_signal(signal.SIGSTOP)
            copy = image.with_name(f"copy_{number}")
            subprocess.run(["cp", "--sparse=always", image, copy], check=True)
            run.send_signal(signal.SIGCONT)
            stopped += time.monotonic() - before
            copies.append((moment, copy))
        run.wait()
    return copies


@contextlib.contextmanager
def mounted(image: Path, place: Path) -> Iterator[None]:
    """Mounts an image for as long as the context lasts."""
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


if __name__ == "__main__":
    if not shutil.which("mkfs.ext4"):
        sys.exit("power_cuts: mkfs.ext4 found nowhere, expected on PATH")
    main()
