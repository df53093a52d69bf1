"""Builders of TensorFlow Datasets, and the way from a builder to training."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from lt4rec_tf import evaluate, train
from lt4rec_tf.config.parse import parse
from lt4rec_tf.config.settings import DataSettings
from lt4rec_tf.core.artifacts import read_json
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.splits import SPLITS
from lt4rec_tf.data.public import datasets
from lt4rec_tf.data.public.builders.simulated_feed.simulated_feed_dataset_builder import Builder
from lt4rec_tf.data.simulator.text import COLUMNS
from lt4rec_tf.data.simulator.writer import simulate
from lt4rec_tf.experiment import logs
from lt4rec_tf.schema.reader import load_schema
from tests.support.paths import PROJECT
from tests.support.turns import Aside, held_by_another, until

SCHEMA = PROJECT / "configs" / "schemas" / "simulated_feed.toml"
SMALL = "simulated_feed/small"
ROWS = {"train": 5_000, "validation": 1_000, "test": 1_000}


class SimulatedFeedTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own checks: registered, documented, prepared, read back, no row in two splits."""

    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ("small",)
    SPLITS = ROWS
    EXAMPLE_DIR = str(PROJECT)  # nothing is read: the rows are drawn


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    datasets.prepare(SMALL, folder)
    return folder


def settings_of(*flags):
    return parse(["train", f"--schema={SCHEMA}", "--data_dir=logs", *flags], "")[0]


def rows(source, split):
    """All that training sees of a split: a row of numbers for each impression, sorted."""
    found = []
    for batch in batches(source, split, 4_096):
        columns = [*batch["features"].values(), *batch["labels"].values()]
        columns += [*batch["weights"].values(), batch["user"]]
        flat = [column.numpy().reshape(len(column), -1).astype(np.float64) for column in columns]
        found.append(np.concatenate(flat, axis=1))
    table = np.concatenate(found)
    return table[np.lexsort(table.T)]


def test_every_column_has_the_simulators_type_and_a_description(tmp_path):
    features = Builder(data_dir=tmp_path, config="small").info.features
    assert list(features) == list(COLUMNS)
    kinds = {str: np.object_, int: np.int64, float: np.float32}
    for name, kind in COLUMNS.items():
        assert features[name].np_dtype == kinds[kind], name
        assert features[name].doc.desc, name
    assert isinstance(features["tags"], tfds.features.Sequence)
    assert features["position"].doc.value_range == "1 to 10"


def test_numbers_lie_in_the_documented_ranges(prepared):
    builder = datasets._builder(SMALL, prepared)
    examples = builder.as_dataset(split="train+validation+test", batch_size=-1)
    for name, feature in builder.info.features.items():
        least, _, most = (feature.doc.value_range or "").partition(" to ")
        if most:
            values = examples[name].numpy()
            assert float(least) <= values.min() <= values.max() <= float(most), name


def test_the_metadata_are_installed_with_the_package():
    metadata = Builder.get_metadata()
    assert metadata.description.startswith("Impressions of a simulated video feed")
    assert "2008.09872" in metadata.citation
    assert "content.data-type.tabular" in metadata.tags


def test_the_quickstart_configuration_is_the_quickstarts_log():
    flagfile = PROJECT / "configs" / "quickstart.cfg"
    data = parse(["train", f"--flagfile={flagfile}"], "")[0].data
    drawn = Builder.builder_configs["quickstart"].settings
    assert (drawn.rows, drawn.seed) == (data.simulate_rows, data.simulate_seed)


@pytest.mark.slow
def test_prepared_shards_hold_the_rows_of_the_simulators_csv(prepared, tmp_path):
    schema = load_schema(SCHEMA)
    simulate(tmp_path / "csv", Builder.builder_configs["small"].settings)
    by_day = DataSettings(data_dir=str(tmp_path / "csv"), split="time")
    by_file = DataSettings(data_dir=str(prepared), dataset=SMALL, split="files")
    texts, shards = (logs.open_logs(data, schema) for data in (by_day, by_file))
    texts, shards = (audit.complete(source, audit.audit(source)) for source in (texts, shards))
    for split in SPLITS:
        assert len(rows(shards, split)) == ROWS[split]
        # Numbers of the shards are float32 already, those of the text are rounded later.
        np.testing.assert_allclose(rows(shards, split), rows(texts, split), rtol=1e-6)


def test_a_prepared_data_set_is_left_as_it_is(prepared):
    shards = sorted(prepared.rglob("*.tfrecord-*"))
    before = [path.stat().st_mtime_ns for path in shards]
    datasets.prepare(SMALL, prepared)
    assert len(shards) == 3
    assert [path.stat().st_mtime_ns for path in shards] == before


def test_a_data_set_that_another_process_prepares_is_waited_for(prepared, tmp_path, capsys):
    with held_by_another(tmp_path) as holder:
        waiting = Aside(lambda: datasets.prepare(SMALL, tmp_path))
        until(lambda: "waiting until" in capsys.readouterr().err)
        shutil.copytree(prepared / "simulated_feed", tmp_path / "simulated_feed")
        shards = sorted(tmp_path.rglob("*.tfrecord-*"))
        before = [path.stat().st_mtime_ns for path in shards]
        holder.stdin.close()
        waiting.ended()
    assert len(shards) == 3
    assert [path.stat().st_mtime_ns for path in shards] == before


def test_the_first_configuration_is_taken_when_none_is_named(tmp_path):
    builder = datasets._builder("simulated_feed", tmp_path)
    assert builder.info.full_name == "simulated_feed/quickstart/1.0.0"


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("simulated", "found 'simulated', expected one of ali_ccp, .*, simulated_feed, tenrec$"),
        ("simulated_feed/tiny", "expected one of simulated_feed/quickstart, simulated_feed/small$"),
    ],
)
def test_an_unknown_data_set_is_refused_with_the_known_ones(dataset, expected, tmp_path):
    with pytest.raises(DataError, match=expected):
        datasets.prepare(dataset, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_that_is_not_prepared_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"small/1\.0\.0: found no prepared data set"):
        datasets.open_prepared(SMALL, tmp_path, load_schema(SCHEMA))


@pytest.mark.parametrize(
    "flag",
    ["--split=time", "--simulate_rows=9", "--validation_files=v", "--test_files=t"],
)
def test_flags_that_a_data_set_leaves_without_meaning_are_refused(flag):
    own_splits = (f"--dataset={SMALL}", "--split=files")
    assert settings_of(*own_splits).data.dataset == SMALL
    with pytest.raises(ConfigError, match=flag.partition("=")[0]):
        settings_of(*own_splits, flag)


def test_the_ready_configuration_can_be_read():
    flagfile = PROJECT / "configs" / "simulated_feed_tfds.cfg"
    data = parse(["train", f"--flagfile={flagfile}"], "")[0].data
    expected = DataSettings(
        schema="configs/schemas/simulated_feed.toml",
        data_dir="data/tfds",
        dataset="simulated_feed/quickstart",
        split="files",
    )
    assert dataclasses.asdict(data) == dataclasses.asdict(expected)


def test_importing_the_entry_points_does_not_load_tfds():
    code = "import sys, lt4rec_tf.train; sys.exit('tensorflow_datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=PROJECT).returncode == 0


@pytest.mark.slow
def test_a_run_from_a_named_data_set_to_its_evaluation(tmp_path, capsys):
    flags = [f"--schema={SCHEMA}", f"--data_dir={tmp_path / 'data'}", f"--dataset={SMALL}"]
    flags += [
        "--split=files",
        "--rows=hard_sharing",
        "--epochs=1",
        "--hidden_units=8",
        "--embedding_dim=4",
    ]
    run = tmp_path / "run"
    train.main(["train", *flags, f"--run_dir={run}"])
    first = read_json(run / "evaluation.json")
    assert {row["row"] for row in first["rows"]} == {"hard_sharing"}
    assert {split: read_json(run / "data.json")["splits"][split]["rows"] for split in ROWS} == ROWS
    evaluate.main(["evaluate", f"--run={run}"])
    assert read_json(run / "evaluation.json") == first
    capsys.readouterr()
