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
from typing import Any

import numpy as np

from lt4rec_tf.core.artifacts import RunError, read_json, sha256, write_json
from lt4rec_tf.data.simulator.exposure import Impressions
from lt4rec_tf.data.simulator.feed import Feed, Outcomes
from lt4rec_tf.data.simulator.purchases import ShopFeed, ShopOutcomes, open_feed
from lt4rec_tf.data.simulator.text import (
    COLUMNS,
    SHOP_COLUMNS,
    SHOP_TRUTH_COLUMNS,
    TRUTH_COLUMNS,
    gzip_shard,
    impressions_to_csv,
    truth_to_csv,
    write_tfrecord,
)
from lt4rec_tf.data.simulator.world import FeedSettings, SimulatorError

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
    purchases: int | None = None  # None: a feed without purchases
    spent: float | None = None  # sum of the amounts


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
    purchase_rate: float | None = None  # of clicks; None: a feed without purchases
    mean_amount: float | None = None  # of purchases; 0 when nothing was bought


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
    feed = open_feed(settings)
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
    write_json(directory / "manifest.json", asdict(manifest, dict_factory=_stored))
    return manifest


def write_shard(feed: Feed, directory: Path, day: int, part: int) -> Shard:
    """Writes one shard and its truth; needs no other shard, so that many machines can share a log.

    Args:
        feed: What is simulated, as `open_feed` gives it.
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
    shop = isinstance(feed, ShopFeed)
    columns = SHOP_COLUMNS if shop else COLUMNS
    totals = dict.fromkeys(("clicks", "completed", "watched", "purchases", "cents"), 0.0)

    def blocks() -> Iterator[bytes]:
        with gzip_shard(truth, SHOP_TRUTH_COLUMNS if shop else TRUTH_COLUMNS) as truth_file:
            for shown, chances, happened in feed.blocks(day, start, stop):
                truth_file.write(truth_to_csv(day, shown, chances))
                for count, value in _counted(feed, shown, happened).items():
                    totals[count] += value
                yield impressions_to_csv(feed.world, day, shown, happened)

    if kind == "tfrecord":
        write_tfrecord(impressions, blocks(), columns)
    else:
        with gzip_shard(impressions, columns) as file:
            for block in blocks():
                file.write(block)
    return Shard(
        impressions=str(impressions.relative_to(directory)),
        truth=str(truth.relative_to(directory)),
        rows=stop - start,
        clicks=int(totals["clicks"]),
        completed=int(totals["completed"]),
        watched=float(totals["watched"]),
        impressions_sha256=sha256(impressions),
        truth_sha256=sha256(truth),
        purchases=int(totals["purchases"]) if shop else None,
        spent=float(totals["cents"]) / 100 if shop else None,
    )


def _counted(feed: Feed, shown: Impressions, happened: Outcomes) -> dict[str, float]:
    """What a shard sums over its rows."""
    duration = 100 * feed.world.videos.duration[shown.video]
    ratio = np.minimum(1, happened.play_time / duration)
    counts = {
        "clicks": happened.click.sum(),
        "completed": (ratio == 1).sum(),
        "watched": ratio.sum(),
    }
    if isinstance(happened, ShopOutcomes):
        counts |= {"purchases": happened.purchase.sum(), "cents": happened.amount.sum()}
    return counts


def _summed(settings: FeedSettings, shards: Sequence[Shard]) -> Manifest:
    clicks = sum(shard.clicks for shard in shards)
    purchases = sum(shard.purchases or 0 for shard in shards)
    spent = sum(shard.spent or 0 for shard in shards)
    return Manifest(
        model_version=MODEL_VERSION,
        settings=settings,
        rows=settings.rows,
        clicks=clicks,
        click_rate=clicks / settings.rows,
        complete_rate=sum(shard.completed for shard in shards) / max(clicks, 1),
        watch_ratio=sum(shard.watched for shard in shards) / max(clicks, 1),
        shards=tuple(shards),
        purchase_rate=purchases / max(clicks, 1) if settings.purchases else None,
        mean_amount=spent / max(purchases, 1) if settings.purchases else None,
    )


def _stored(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """One level of a manifest: without purchases, as it was before there were any."""
    values = {name: value for name, value in items if value is not None}
    if values.get("purchases") is False:  # of the settings; in a shard it is a number
        del values["purchases"], values["purchase_rate"]
    return values


def _checked(directory: Path, asked: FeedSettings) -> Manifest:
    """The manifest that is there, when it is of the log asked for and the files are there too."""
    path = directory / "manifest.json"
    try:
        stored = read_json(path)
        settings = FeedSettings(**stored.pop("settings"))  # purchases: off unless stored
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
        kind: dict[str, Any] = {"type": type(field.default), "metavar": "VALUE"}
        if isinstance(field.default, bool):  # type=bool would take any text, "0" too, for true
            kind = {"action": argparse.BooleanOptionalAction}
        parser.add_argument(f"--{field.name}", default=field.default, **kind)
    options = vars(parser.parse_args(arguments))
    directory = options.pop("dir")
    try:
        manifest = simulate(directory, FeedSettings(**options))
    except SimulatorError as error:
        sys.exit(str(error))
    bought = ""
    if manifest.purchase_rate is not None:
        bought = f", {manifest.purchase_rate:.3f} purchase, mean amount {manifest.mean_amount:.2f}"
    print(
        f"{directory}: {manifest.rows} impressions in {len(manifest.shards)} shards, "
        f"click rate {manifest.click_rate:.3f}, of clicks {manifest.complete_rate:.3f} complete, "
        f"mean watch ratio {manifest.watch_ratio:.3f}{bought}"
    )
