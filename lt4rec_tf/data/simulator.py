"""Writes the log of a simulated video feed whose truth is known.

    <directory>/
        impressions/day_<dd>_part_<nnn>.csv.gz     the log (or .tfrecord.gz)
        truth/day_<dd>_part_<nnn>.csv.gz           the same rows' true probabilities
        manifest.json                              written last: the log is complete

The same settings give the same bytes. Memory is bounded by the population and one block of rows.
docs/simulator.md describes the model; `python -m lt4rec_tf.data.simulator --help` the command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from lt4rec_tf.data.simulator_feed import Feed
from lt4rec_tf.data.simulator_io import (
    COLUMNS,
    TRUTH_COLUMNS,
    gzip_shard,
    impressions_to_csv,
    sha256,
    truth_to_csv,
    write_tfrecord,
)
from lt4rec_tf.data.simulator_world import FeedSettings, SimulatorError
from lt4rec_tf.runs import RunError, read_json, write_json

__all__ = ["Feed", "FeedSettings", "Manifest", "Shard", "SimulatorError", "simulate", "write_shard"]

# Raised by every change after which the same settings give other rows.
MODEL_VERSION = 1

SUFFIXES = {"csv": ".csv.gz", "tfrecord": ".tfrecord.gz"}


@dataclass(frozen=True)
class Shard:
    """One file of the log with its truth; paths are relative to the directory."""

    impressions: str
    truth: str
    rows: int
    clicks: int
    completed: int  # clicked and watched to the end
    watched: float  # sum of the watch ratios of clicks
    impressions_sha256: str
    truth_sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a complete directory holds."""

    model_version: int
    settings: FeedSettings  # resolved
    rows: int
    clicks: int
    click_rate: float
    complete_rate: float  # of clicks; 0 when nothing was clicked
    watch_ratio: float  # mean of clicks; 0 when nothing was clicked
    shards: tuple[Shard, ...]


def simulate(directory: Path | str, settings: FeedSettings) -> Manifest:
    """Writes a log with its truth, or finds that it is there already.

    A directory without a manifest is one whose writing was cut short; its shards are replaced.

    Args:
        directory: Where; made when absent.
        settings: What to simulate.

    Raises:
        SimulatorError: The directory holds a complete log made with other settings, or its
            manifest or a shard is damaged or gone.
    """
    directory = Path(directory)
    if (directory / "manifest.json").exists():
        return _checked(directory, settings.resolved())
    feed = Feed(settings)
    for folder in ("impressions", "truth"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
        for leftover in (directory / folder).glob("*day_*_part_*"):
            leftover.unlink()
    parts = feed.settings.shards_per_day
    shards = [
        write_shard(feed, directory, day, part)
        for day in range(feed.settings.days)
        for part in range(parts)
    ]
    manifest = _summed(feed.settings, shards)
    write_json(directory / "manifest.json", asdict(manifest))
    return manifest


def write_shard(feed: Feed, directory: Path, day: int, part: int) -> Shard:
    """Writes one shard and its truth; needs no other shard, so that many machines can share a log.

    Args:
        feed: What is simulated.
        directory: Its folders impressions and truth exist.
        day: From 0.
        part: In [0, shards_per_day).
    """
    kind, parts = feed.settings.format, feed.settings.shards_per_day
    rows = feed.rows_of_day(day)
    start, stop = rows * part // parts, rows * (part + 1) // parts
    name = f"day_{day:02d}_part_{part:03d}"
    impressions = directory / "impressions" / f"{name}{SUFFIXES[kind]}"
    truth = directory / "truth" / f"{name}.csv.gz"
    counts: dict[str, list[float]] = {"clicks": [], "completed": [], "watched": []}

    def blocks() -> Iterator[bytes]:
        with gzip_shard(truth, TRUTH_COLUMNS) as truth_file:
            for shown, chances, happened in feed.blocks(day, start, stop):
                truth_file.write(truth_to_csv(day, shown, chances))
                duration = 100 * feed.world.videos.duration[shown.video]
                ratio = np.minimum(1, happened.play_time / duration)
                counts["clicks"].append(happened.click.sum())
                counts["completed"].append((ratio == 1).sum())
                counts["watched"].append(ratio.sum())
                yield impressions_to_csv(feed.world, day, shown, happened)

    if kind == "tfrecord":
        write_tfrecord(impressions, blocks())
    else:
        with gzip_shard(impressions, COLUMNS) as file:
            for block in blocks():
                file.write(block)
    return Shard(
        impressions=str(impressions.relative_to(directory)),
        truth=str(truth.relative_to(directory)),
        rows=stop - start,
        clicks=int(sum(counts["clicks"])),
        completed=int(sum(counts["completed"])),
        watched=float(sum(counts["watched"])),
        impressions_sha256=sha256(impressions),
        truth_sha256=sha256(truth),
    )


def _summed(settings: FeedSettings, shards: Sequence[Shard]) -> Manifest:
    clicks = sum(shard.clicks for shard in shards)
    return Manifest(
        model_version=MODEL_VERSION,
        settings=settings,
        rows=settings.rows,
        clicks=clicks,
        click_rate=clicks / settings.rows,
        complete_rate=sum(shard.completed for shard in shards) / max(clicks, 1),
        watch_ratio=sum(shard.watched for shard in shards) / max(clicks, 1),
        shards=tuple(shards),
    )


def _checked(directory: Path, asked: FeedSettings) -> Manifest:
    """The manifest that is there, when it is of the log asked for and the files are there too."""
    path = directory / "manifest.json"
    try:
        stored = read_json(path)
        settings = FeedSettings(**stored.pop("settings"))
        shards = tuple(Shard(**shard) for shard in stored.pop("shards"))
        manifest = Manifest(settings=settings, shards=shards, **stored)
    except (RunError, KeyError, TypeError, AttributeError, SimulatorError) as error:
        raise SimulatorError(
            f"{path}: found no manifest of this simulator ({error}); remove the directory"
        ) from error
    made = {"model_version": manifest.model_version, **asdict(settings)}
    wanted = {"model_version": MODEL_VERSION, **asdict(asked)}
    other = [
        f"{name} {made[name]!r}, expected {wanted[name]!r}"
        for name in made
        if made[name] != wanted[name]
    ]
    if other:
        raise SimulatorError(
            f"{path}: found a log with {'; '.join(other)}; take another directory or remove it"
        )
    for shard in shards:
        for name in (shard.impressions, shard.truth):
            if not (directory / name).exists():
                raise SimulatorError(
                    f"{directory / name}: found no file, expected a shard of {path}"
                )
    return manifest


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes a log with settings from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lt4rec_tf.data.simulator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dir", required=True, type=Path, help="where to write")
    for field in fields(FeedSettings):
        parser.add_argument(
            f"--{field.name}", type=type(field.default), default=field.default, metavar="VALUE"
        )
    options = vars(parser.parse_args(arguments))
    directory = options.pop("dir")
    try:
        manifest = simulate(directory, FeedSettings(**options))
    except SimulatorError as error:
        sys.exit(str(error))
    print(
        f"{directory}: {manifest.rows} impressions in {len(manifest.shards)} shards, "
        f"click rate {manifest.click_rate:.3f}, of clicks {manifest.complete_rate:.3f} complete, "
        f"mean watch ratio {manifest.watch_ratio:.3f}"
    )


if __name__ == "__main__":
    main()
