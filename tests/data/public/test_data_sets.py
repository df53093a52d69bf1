"""Public data sets: from their files, by the builders, to what training reads."""

import contextlib
import dataclasses
import functools
import hashlib
import http.server
import tarfile
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.config.checks import check_tasks
from lt4rec_tf.config.parse import parse
from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.public import archives, archives_beam, datasets, published
from lt4rec_tf.data.public.builders.ali_ccp import ali_ccp_dataset_builder as ali_ccp
from lt4rec_tf.data.public.builders.ali_express import ali_express_dataset_builder as ali_express
from lt4rec_tf.data.public.builders.byterec import byterec_dataset_builder as byterec
from lt4rec_tf.data.public.builders.kuairand import kuairand_dataset_builder as kuairand
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.schema.reader import load_schema
from tests.support.feeds import audit_of_few
from tests.support.paths import PROJECT, real_data

pytestmark = pytest.mark.slow(minutes=2)
BUILDERS = PROJECT / "lt4rec_tf" / "data" / "public" / "builders"
FLAGFILES = sorted((PROJECT / "configs" / "data_sets").glob("*.cfg"))
# The same builder, schema and code under another name: one of each is prepared here, another by the
# test of the builder. The features of kuairand_pure are some of kuairand's, see below. The authors'
# sample is prepared from its own files.
ALIKE = ("kuairand_1k", "kuairand_pure", "kuairec_small", "tenrec_qk", "ali_express_es",
         "ali_express_fr", "ali_express_us", "byterec_track1", "lt4rec_sample")  # fmt: skip


def dummy_data(dataset):
    return BUILDERS / dataset.partition("/")[0] / "dummy_data"


def settings_of(flagfile, *flags):
    return parse(["train", f"--flagfile={flagfile}", *flags], "")[0]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Where data sets are prepared, each once."""
    return tmp_path_factory.mktemp("data")


def prepared(flagfile, folder):
    """The audited source that a ready configuration trains on, from the builder's dummy data."""
    flags = [f"--data_dir={folder}"]
    dataset = settings_of(flagfile).data.dataset
    settings = settings_of(flagfile, *flags, f"--manual_dir={dummy_data(dataset)}")
    logs.prepare_if_asked(settings.data)
    schema = run_folder.read_schema(PROJECT / settings.data.schema, settings)
    source = logs.open_logs(settings.data, schema)
    found = audit_of_few(source)
    return audit.complete(source, found), found


@pytest.mark.parametrize("flagfile", FLAGFILES, ids=lambda path: path.stem)
def test_a_ready_configuration_names_a_data_set_and_a_schema_that_there_are(flagfile, monkeypatch):
    monkeypatch.chdir(PROJECT)
    settings = settings_of(flagfile)
    schema = run_folder.read_schema(settings.data.schema, settings)
    check_tasks(settings, [task.name for task in schema.tasks])
    name, _, version = settings.data.dataset.partition("/")
    assert name in datasets.known_datasets()
    assert version in {"", *datasets._module(name, name).Builder.builder_configs}


@pytest.mark.parametrize(
    "flagfile", [path for path in FLAGFILES if path.stem not in ALIKE], ids=lambda path: path.stem
)
def test_training_reads_every_row_that_a_builder_wrote(flagfile, data_dir, monkeypatch):
    monkeypatch.chdir(PROJECT)
    source, found = prepared(flagfile, data_dir)
    assert set(found.unusable) <= {"excluded_zero_duration"}
    check_every_row_is_read(source, found)


def check_every_row_is_read(source, found):
    assert not any(found.feature_faults.values())
    for split, counts in found.splits.items():
        assert counts.rows > 0
        read = sum(len(batch["user"]) for batch in batches(source, split, 500))
        assert read == counts.rows, split


def test_kuairand_pure_has_the_features_and_labels_of_kuairand_without_its_tab():
    """So that reading one of them shows that both are read."""
    whole, pure = (
        load_schema(PROJECT / "configs" / "schemas" / f"{name}.toml")
        for name in ("kuairand", "kuairand_pure")
    )
    for feature in whole.features:
        if feature.name != "tab":
            mine = dataclasses.replace(pure.feature(feature.name), separator=feature.separator)
            assert mine == feature
    assert len(pure.features) == len(whole.features) - 1
    for name in ("user", "time", "labels", "tasks"):
        assert getattr(pure, name) == getattr(whole, name), name


def test_a_row_of_kuairand_is_joined_with_its_user_and_video():
    folder = epath.Path(dummy_data("kuairand") / "KuaiRand-Pure" / "data")
    log = sorted(folder.glob("log_standard_*.csv"))[:1]
    tables = folder / "user_features_pure.csv", folder / "video_features_basic_pure.csv"
    rows = dict(kuairand._in_memory(log, *tables, 20220410, 20220416))
    assert len(rows) == 3  # the days 10, 12 and 15 of 8, 10, 12, 15, 20, 21
    row = rows["log_standard_4_08_to_4_21_pure.csv: row 2"]
    assert (row["user_id"], row["video_id"], row["date"], row["is_click"]) == (1, 1, 20220410, 1)
    assert row["follow_user_num"] == 10
    assert row["follow_user_num_range"] == "(10,50]"
    assert row["onehot_feat12"] == -124  # the file says nothing there
    assert (row["video_type"], row["tag"], row["music_type"]) == ("NORMAL", [39, 2], 9)
    assert row["upload_dt"] == "2022-04-02"


def test_beam_joins_as_memory_does(data_dir):
    """All columns of all rows, read back from what TFDS wrote by the two ways."""
    read = {}
    for version in ("pure", "27k"):
        datasets.prepare(f"kuairand/{version}", data_dir, dummy_data("kuairand"))
        builder = datasets._builder(f"kuairand/{version}", data_dir)
        rows = {split: tfds.as_numpy(builder.as_dataset(split)) for split in builder.info.splits}
        read[version] = {
            split: sorted((repr(sorted(row.items())) for row in found), key=str)
            for split, found in rows.items()
        }
    assert read["pure"] == read["27k"]
    assert {split: len(rows) for split, rows in read["pure"].items()} == {
        "train": 8, "validation": 2, "test": 3, "random_exposure": 2,
    }  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
def test_ranges_of_a_file_together_hold_each_row_once(size, tmp_path):
    lines = ["id,text", *(f"{number},{'x' * (number % 9)}é" for number in range(40))]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = [
        row
        for part in archives_beam._ranges(epath.Path(path), size)
        for row in archives_beam.rows_between(*part)
    ]
    assert [row["id"] for _, row in found] == [str(number) for number in range(40)]
    assert len({place for place, _ in found}) == 40
    assert found[1][1]["text"] == "xé"


def test_a_sample_of_ali_ccp_is_joined_by_hand():
    row = {"sample_id": "7", "click": "1", "purchase": "0", "common_feat_id": "c"}
    row["common_list"] = "101\x0255\x031.0\x01109_14\x0217\x032.5\x01109_14\x0218\x03.5"
    row["feat_list"] = "205\x029\x031.0\x01999\x021\x031.0"
    _, example = ali_ccp.example("a:0", row)
    assert (example["sample_id"], example["click"], example["purchase"]) == ("7", 1, 0)
    assert (example["101"], example["205"], example["216"]) == ("55", "9", "")
    assert example["109_14"] == ["17", "18"]
    assert example["109_14_value"] == [2.5, 0.5]
    assert example["508"] == []
    assert not ali_ccp.is_possible({"click": "0", "purchase": "1"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1\n", r"x\.csv: row 1: found 1 values, expected 2"),
        ("a,b\n1,2,3\n", r"x\.csv: row 1: found 3 values, expected 2"),
        ("", r"x\.csv: found an empty first line"),
        ("a,b\n1,\x00\xff\n", r"x\.csv: cannot be read"),
    ],
)
def test_a_row_that_cannot_be_read_ends_with_its_place(text, message, tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        list(archives.read_rows(path))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [("whole", "9.0", 9), ("whole", "nan", -1), ("number", "", None), ("wholes", "", [])],
)
def test_values_that_pandas_wrote_are_read(kind, text, value):
    read = archives.example([archives.Column("c", kind, "")], {"c": text}, "row 1")["c"]
    assert np.isnan(read) if value is None else read == value


@pytest.mark.parametrize("text", ["9.5", "inf", "a"])
def test_a_value_of_another_kind_is_refused(text):
    with pytest.raises(DataError, match=f"row 1: c: found '{text}', expected a whole number"):
        archives.example([archives.Column("c", "whole", "")], {"c": text}, "row 1")


@pytest.mark.parametrize(
    "name", sorted({*datasets.known_datasets()} - {"kuairand", "simulated_feed"})
)
def test_missing_files_are_named_with_where_to_get_them(name, tmp_path):
    (tmp_path / "manual" / "other").mkdir(parents=True)
    for manual in (tmp_path / "absent", tmp_path / "manual"):
        with pytest.raises(DataError, match=r"(?s)found no.*(https?://|manual_dir)"):
            datasets.prepare(name, tmp_path / "data", manual)


@contextlib.contextmanager
def kuairand_served_from(folder, monkeypatch):
    """A folder in the place of KuaiRand's record."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(kuairand, "RECORD", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


def test_an_archive_is_downloaded_unpacked_and_compared_with_its_sum(tmp_path, monkeypatch):
    served = tmp_path / "served" / "files"
    served.mkdir(parents=True)
    archive = served / "KuaiRand-Pure.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(dummy_data("kuairand") / "KuaiRand-Pure", "KuaiRand-Pure")
    with kuairand_served_from(tmp_path / "served", monkeypatch):
        with pytest.raises(DataError, match=r"found MD5 .*, expected 0820331067a3784d"):
            datasets.prepare("kuairand/pure", tmp_path / "data", tmp_path / "manual")
        own = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
        monkeypatch.setattr(kuairand.Builder.builder_configs["pure"], "md5", own)
        datasets.prepare("kuairand/pure", tmp_path / "data", tmp_path / "manual")
    assert datasets._builder("kuairand/pure", tmp_path / "data").info.splits["test"].num_examples


def test_a_download_that_fails_is_explained(tmp_path, monkeypatch):
    said = r"kuairand/pure: its files cannot be downloaded \(.*404.*and copy .*kuairand/pure/"
    with kuairand_served_from(tmp_path, monkeypatch), pytest.raises(DataError, match=said):
        datasets.prepare("kuairand/pure", tmp_path / "data", tmp_path / "manual")


def test_what_is_published_is_said_beside_what_was_found():
    found = {
        "rows": 41_828,
        "users": 663,
        "items": None,
        "click_share": 0.38849,
        "watch_ratio": 1.0,
    }
    known = archives.Statistics(rows=41_828, users=664, click_share=0.388)
    assert published.comparison(found, known).splitlines() == [
        "rows               41,828  published 41,828",
        "users                 663  published 664, DIFFERS",
        "click_share        0.3885  published 0.3880",
        "watch_ratio        1.0000",
    ]


# The samples beside the project.


def test_the_authors_sample_is_what_is_published(tmp_path, monkeypatch):
    monkeypatch.chdir(PROJECT)
    flagfile = PROJECT / "configs" / "data_sets" / "lt4rec_sample.cfg"
    manual = real_data("tencent_video_sample")
    settings = settings_of(flagfile, f"--data_dir={tmp_path}", f"--manual_dir={manual}")
    logs.prepare_if_asked(settings.data)
    source = logs.open_logs(settings.data, run_folder.read_schema(settings.data.schema, settings))
    found = audit.audit(source)
    said = []
    logs.compare_with_published(settings.data, source, found, tmp_path / "run", said.append)
    assert len(said[0].splitlines()) == 5
    assert "DIFFERS" not in said[0]
    check_every_row_is_read(audit.complete(source, found), found)


def test_every_row_of_the_feedback_sample_is_read():
    from lt4rec_tf.data.public.builders.kuairand_feedback import (
        kuairand_feedback_dataset_builder as own,
    )

    folder = epath.Path(real_data("kuairand_feedback_sample"))
    rows = archives.read_rows(folder / "log.tsv.gz", delimiter="\t")
    examples = [archives.example(own.COLUMNS, row, f"row {number}") for number, row in rows]
    assert len(examples) == 41_828
    assert len({row["user_id"] for row in examples}) == 664
    assert np.mean([row["duration_ms"] == 0 for row in examples]) == pytest.approx(0.185, abs=5e-4)


def test_rows_of_other_samples_are_read():
    samples = epath.Path(real_data("format_samples"))
    views = dict(byterec.read(samples / "byterec_sample" / "byterec_sample.txt"))
    assert len(views) == 200
    assert views[1]["uid"] == 37448
    assert views[1]["duration_time"] == 9
    shown = archives.read_rows(samples / "aliexpress_tiny_fuxictr" / "train.csv")
    shown = [archives.example(ali_express.COLUMNS, row, "") for _, row in shown]
    assert len(shown) == 1_000
    assert {row["click"] for row in shown} == {0, 1}
    joined = archives.read_rows(samples / "kuairand1k_sample200" / "kuairand_sample.csv")
    known = [column for column in kuairand.COLUMNS if not column.name.endswith(("range", "type"))]
    rows = [archives.example(known, row, "") for _, row in joined]
    assert len(rows) == 200
    assert rows[0]["duration_ms"] == 30066
