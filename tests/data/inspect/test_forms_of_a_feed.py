"""One feed as Parquet, as CSV and as the CSV of another writer: looked at, and read alike."""

import csv
import datetime
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.schema.reader import load_schema
from tests.support.feeds import opened

pytestmark = pytest.mark.slow(minutes=1)
START = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
TAGS = ["music, live", "news", 'say "hi"', "cats", "diy"]


def rows_of_day(day):
    rng = np.random.default_rng(day)
    rows = []
    for number in range(200):
        click = int(rng.random() < 0.4)
        rows.append(
            {
                "request_id": f"r{day}_{number}",
                "user_id": 2**63
                - 1
                - int(rng.integers(40)),  # neighbours that no double tells apart
                "item_id": f"v_{rng.integers(90)}",
                "tags": [TAGS[i] for i in rng.permutation(5)[: rng.integers(4)]],
                "age": None if rng.random() < 0.2 else float(rng.integers(14, 70)),
                "is_vip": bool(rng.random() < 0.1),
                "city": str(rng.choice(["São Paulo, BR", "Lyon, FR", "Pune"])),
                "event_time": START + datetime.timedelta(days=day, milliseconds=int(number * 1001)),
                "click": click,
                "play_sec": round(float(rng.random() * 50), 3) if click else None,
                "duration_sec": round(float(rng.random() * 50 + 1), 2),
            }
        )
    return rows


def write_parquet(path, rows):
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns["event_time"] = pa.array(columns["event_time"], pa.timestamp("us", "Asia/Shanghai"))
    columns["play_sec"] = pa.array(columns["play_sec"], pa.float32())
    pq.write_table(pa.table(columns), path)


def csv_writer(list_of, time_of):
    def write(path, rows):
        with path.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(rows[0])
            for row in rows:
                changed = {"tags": list_of(row["tags"]), "event_time": time_of(row["event_time"])}
                changed["is_vip"] = str(row["is_vip"]).lower()
                out.writerow((row | changed).values())

    return write


def epoch_ms(time):
    return round(time.timestamp() * 1000)


def iso(time):
    return time.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


FORMS = {
    "parquet": write_parquet,
    "csv": csv_writer("|".join, epoch_ms),
    "iso.csv": csv_writer(json.dumps, iso),
}


def look_and_read(folder, form):
    """Drafts a schema without a flag, and reads the logs by it."""
    for day in range(5):
        path = folder / "logs" / f"dt=2026-11-2{day}" / f"part-0.{form}"
        path.parent.mkdir(parents=True)
        FORMS[form](path, rows_of_day(day))
    made = folder / "feed.toml"
    assert inspect.main(["inspect", f"--files={folder}/logs", f"--schema_out={made}"]) == 0
    starts = [epoch_ms(START + datetime.timedelta(days=day)) for day in (3, 4)]
    rule = SplitRule("time", validation_from=starts[0], test_from=starts[1])
    source, audit = opened(load_schema(made), folder / "logs", rule)
    found = []
    for split in ("train", "validation", "test"):
        for batch in batches(source, split, 64, Order(shuffle_seed=1)):
            found.append(tf.nest.map_structure(lambda v: v.numpy().tolist(), batch))
    return audit, json.dumps(found)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    return look_and_read(tmp_path_factory.mktemp("feed"), "parquet")


def test_a_look_at_parquet_finds_what_is_to_be_learned(parquet):
    audit, _ = parquet
    assert [audit.splits[name].rows for name in ("train", "validation", "test")] == [600, 200, 200]
    assert set(audit.splits["test"].tasks) == {"ctr", "cvr"}
    assert not audit.unusable
    clicks = sum(row["click"] for day in range(5) for row in rows_of_day(day))
    assert sum(counts.tasks["cvr"].rows for counts in audit.splits.values()) == clicks


@pytest.mark.parametrize("form", ["csv", "iso.csv"])
def test_the_other_forms_are_the_same_rows(tmp_path, parquet, form):
    audit, found = look_and_read(tmp_path, form)
    assert audit.splits == parquet[0].splits
    assert found == parquet[1]
