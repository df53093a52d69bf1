"""Predictions of a small run from Python and by `predict`, against those that were measured."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import lt4rec_tf as lt
from lt4rec_tf import predict, train
from lt4rec_tf.core.artifacts import RunError
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.experiment.calibration_maps import maps_of_model
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.feed import split_batches
from lt4rec_tf.experiment.scoring.parts import PartWriter
from lt4rec_tf.training.calibration import calibrated
from lt4rec_tf.training.predictions import predictor_of
from tests.support import feeds
from tests.support.commands import run_main, run_training
from tests.support.feeds import good_row, write_json_lines, write_parquet, write_records

pytestmark = pytest.mark.slow(minutes=1)
ROWS, FIRST = 1200, 1000  # of the log; the first of test
KEPT = ("number", "video", "tags", "length")  # what a row to be scored holds
CALIBRATED = "--calibration=ctr=platt"


def clicked_row(number):
    """A row whose click its video tells, but for every seventh."""
    click = (number % 11 < 5) != (number % 7 == 0)
    return good_row(number, click=str(int(click)), play_time="25" if click else "")


def rows_of_test():
    return [clicked_row(number) for number in range(FIRST, ROWS)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with logs, a schema and a trained run whose CTR is calibrated."""
    folder = tmp_path_factory.mktemp("predict")
    (folder / "logs").mkdir()
    rows = [clicked_row(number) for number in range(ROWS)]
    feeds.write_lines(folder / "logs" / "a.csv", list(map(feeds.line, rows)))
    schema = feeds.schema(folder, glob="*.csv")
    run_training(
        f"--schema={schema.path}",
        f"--data_dir={folder / 'logs'}",
        f"--run_dir={folder / 'run'}",
        "--models=hard_sharing",
        "--hidden_units=8",
        "--embedding_dim=4",
        "--epochs=1",
        "--batch_size=64",
        "--learning_rate=0.02",
        "--split=time",
        "--validation_from=80",
        f"--test_from={FIRST // 10}",
        "--reading=memory",
        CALIBRATED,
    )
    return folder


@pytest.fixture(scope="module")
def run(home):
    return lt.load_run(home / "run")


@pytest.fixture(scope="module")
def measured(home, run):
    """The predictions that `evaluate` measures, by output, calibrated."""
    folder, settings, schema, source = open_run(str(home / "run"), "")
    network = run.model()._predictor.network
    found = predictor_of(network, schema)(split_batches(source, "test"))
    maps = maps_of_model(folder, "hard_sharing", settings, schema).maps
    assert list(maps) == ["ctr"]
    found = calibrated(found, schema, maps)
    ctr, cvr = (found.of(schema.task(task)) for task in ("ctr", "cvr"))
    return {"pctr": ctr, "pcvr": cvr, "pctcvr": ctr * cvr}


def assert_measured(found, measured, rows=slice(None)):
    assert list(found) == ["pctr", "pcvr", "pctcvr"]
    for name, values in measured.items():
        np.testing.assert_allclose(found[name], values[rows], rtol=0, atol=1e-6, err_msg=name)


def as_frame(rows):
    return {name: [feeds.value(name, row[name]) for row in rows] for name in KEPT}


def test_a_run_holds_what_evaluation_json_does(home, run):
    assert run.models == ("hard_sharing",)
    assert run.schema.name == "small"
    assert run.settings.training.epochs == 1
    (model,) = json.loads((home / "run" / "evaluation.json").read_text())["rows"]
    assert run.metrics["model"].tolist() == ["hard_sharing"]
    assert run.metrics["ctr_auc"].tolist() == [model["metrics"]["ctr"]["auc"]]
    after = model["calibrated"]["metrics"]["ctr"]["auc"]
    assert run.metrics["ctr_auc_calibrated"].tolist() == [after]
    assert run.metrics["density_cvr"].tolist() == [1.0]


def test_a_model_has_its_network_and_its_masks(run):
    model = run.model()
    assert run.model("hard_sharing") is model
    assert model.name == "hard_sharing"
    assert model.tasks == ("ctr", "cvr")
    assert sorted(model.keras.input) == sorted(KEPT)
    (layer,) = model.tower("ctr")
    assert layer.shared.kernel.shape[1] == 8
    assert {name: mask.all() for name, mask in run.masks("cvr").items()} == {"tower_0": True}
    with pytest.raises(lt.InputError, match="found no tickets on a tower that is shared"):
        run.overlap()
    with pytest.raises(ValueError, match="task: found 'like', expected one of ctr, cvr"):
        model.tower("like")


def test_a_frame_gets_the_predictions_that_were_measured(run, measured):
    frame = as_frame(rows_of_test())
    assert_measured(run.model().predict(frame), measured)
    assert_measured(run.model().predict(pa.table(frame)), measured)
    texts = {name: [row[name] for row in rows_of_test()] for name in feeds.COLUMNS}
    assert_measured(run.model().predict(texts), measured)  # as in CSV, with columns beside


def test_absent_and_unknown_values_are_those_of_training(run):
    one = as_frame([good_row(7)])
    predicted = run.model().predict(one | {"tags": [None], "video": [""], "length": [np.nan]})
    rows = {"tags": [[]], "video": [None], "length": [None]}
    assert predicted["pctr"] == run.model().predict(one | rows)["pctr"]
    assert run.model().predict(one | {"video": ["nobody saw it"]}).rows == 1
    assert run.model().predict({name: values[:0] for name, values in one.items()}).rows == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": None}, "found no column 'number', which .* the log's columns are video, tags"),
        ({"number": ["7", "x"]}, "frame: row 1: column number: found 'x', expected int64"),
        (
            {"video": [1.0, 2.0**60]},
            "frame: row 1: column video: found 1.15.*, which is no exact id",
        ),
        ({"length": [{"a": 1}] * 2}, "frame: column length: found the type struct<a: int64>"),
    ],
)
def test_a_frame_that_cannot_be_scored_names_column_and_row(run, changes, message):
    frame = as_frame([good_row(0), good_row(1)]) | changes
    frame = {name: values for name, values in frame.items() if values is not None}
    with pytest.raises(lt.InputError, match=message):
        run.model().predict(frame)


def test_what_is_no_run_or_no_model_is_refused(home, run):
    with pytest.raises(lt.InputError, match=r"config\.json: no such file; expected the folder of"):
        lt.load_run(home)
    (home / "seeds").mkdir()
    (home / "seeds" / "seed_1").symlink_to(home / "run", target_is_directory=True)
    with pytest.raises(lt.InputError, match=r"such as .*/seeds/seed_1$"):
        lt.load_run(home / "seeds")
    with pytest.raises(lt.InputError, match="no model 's_weight', expected one of hard_sharing"):
        run.model("s_weight")
    with pytest.raises(lt.InputError, match="found no version"):
        lt.load_version(home)


def predicted(home, files, output, *flags):
    flags = (f"--run={home / 'run'}", f"--files={files}", f"--output={output}", *flags)
    run_main(predict.main, *flags, "--processes=1")
    return output


def refused(home, files, output, *flags):
    predict.main(
        ["predict", f"--run={home / 'run'}", f"--files={files}", f"--output={output}", *flags]
    )


def unlabelled(rows, delimiter=","):
    names = ["user", *KEPT]
    lines = [delimiter.join(names), *(delimiter.join(row[name] for name in names) for row in rows)]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Rows of test in every format, without labels where the format can leave them out."""
    folder = tmp_path_factory.mktemp("unlabelled")
    rows = rows_of_test()
    (folder / "rows.csv").write_text(unlabelled(rows))
    (folder / "rows.tsv").write_text(unlabelled(rows, "\t"))
    kept = [{name: row[name] for name in ("user", *KEPT)} for row in rows]
    write_json_lines(folder / "rows.jsonl", kept)
    write_records(folder / "rows.tfrecord", [feeds.example(row) for row in kept])
    write_parquet(folder / "all.parquet", rows)
    table = pq.read_table(folder / "all.parquet").drop_columns(["click", "play_time", "day"])
    pq.write_table(table, folder / "rows.parquet")
    return folder


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "tfrecord", "parquet"])
def test_a_file_of_any_format_gets_the_predictions_that_were_measured(
    home, logs, measured, tmp_path, ending
):
    output = predicted(home, logs / f"rows.{ending}", tmp_path / "out", "--id_columns=number,user")
    table = pq.read_table(output)
    assert table.schema.names == ["number", "user", "pctr", "pcvr", "pctcvr"]
    numbers = list(range(FIRST, ROWS))
    is_typed = ending in ("tfrecord", "parquet")
    assert table.column("number").to_pylist() == (numbers if is_typed else list(map(str, numbers)))
    assert table.column("user").to_pylist() == [row["user"] for row in rows_of_test()]
    assert_measured({name: table.column(name).to_numpy() for name in measured}, measured)
    assert (output / "_not_scored.tsv").read_text() == ""
    assert not (output / "_unfinished").exists()


def test_csv_and_tfrecords_hold_what_parquet_does(home, logs, measured, tmp_path):
    csv = predicted(
        home, logs / "rows.parquet", tmp_path / "csv", "--format=csv", "--id_columns=user"
    )
    table = pyarrow.csv.read_csv(csv / "part-00000-0000.csv")
    assert table.column("user").to_pylist() == [row["user"] for row in rows_of_test()]
    assert_measured({name: table.column(name).to_numpy() for name in measured}, measured)

    flags = ("--format=tfrecord", "--id_columns=number,tags")
    records = predicted(home, logs / "rows.parquet", tmp_path / "records", *flags)
    found = []
    path = str(records / "part-00000-0000.tfrecord.gz")
    for record in tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator():
        found.append(tf.train.Example.FromString(record).features.feature)
    assert [row["number"].int64_list.value[0] for row in found] == [*range(FIRST, ROWS)]
    assert len(found[0]["tags"].bytes_list.value) == 2
    values = {name: [row[name].float_list.value[0] for row in found] for name in measured}
    assert_measured(values, measured)

    with pytest.raises(DataError, match=r"column tags: found the type list<.*--format=csv"):
        refused(home, logs / "rows.parquet", tmp_path / "x", "--format=csv", "--id_columns=tags")


def test_parquet_carries_columns_of_any_type_and_csv_says_what_it_cannot(home, tmp_path):
    rows = [good_row(number) for number in range(3)]
    moments = pa.array([1, None, 3], pa.timestamp("us", "UTC"))
    texts = pa.array([b"a\xff", b"b", None])
    records, kinds = (
        pa.array([{"a": 1}, None, {"a": 2}]),
        pa.array(["x", "y", "x"]).dictionary_encode(),
    )
    more = {"moment": moments, "bytes": texts, "record": records, "kind": kinds}
    written = pq.read_table(write_parquet(tmp_path / "rows.parquet", rows, **more))
    flag = f"--id_columns={','.join(more)}"
    output = predicted(home, tmp_path / "rows.parquet", tmp_path / "out", flag)
    table = pq.read_table(output)
    for name in more:
        assert table.column(name).equals(written.column(name)), name

    for names, message in (("bytes", "cannot be written with --format=csv"), ("record", "struct")):
        flags = ("--format=csv", f"--id_columns={names}", "--processes=1")
        with pytest.raises(DataError, match=message):
            refused(home, tmp_path / "rows.parquet", tmp_path / names, *flags)
    flags = ("--format=csv", "--id_columns=moment,kind")
    output = predicted(home, tmp_path / "rows.parquet", tmp_path / "csv", *flags)
    lines = (output / "part-00000-0000.csv").read_text().splitlines()
    assert lines[1].startswith('1970-01-01 00:00:00.000001Z,"x",0.')


def test_rows_that_cannot_be_scored_are_in_their_places_and_listed(home, measured, tmp_path):
    rows = rows_of_test()
    lines = unlabelled(rows).splitlines()
    lines[11] = lines[11].replace(",1010,", ",ten,")  # row 11 of the file, behind the header
    lines[21] = "u1,1020"
    lines[31] = lines[31].replace("v", "")  # an unknown video is no fault
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    flags = ("--id_columns=user", "--max_bad_fraction=0.05")
    output = predicted(home, tmp_path / "rows.csv", tmp_path / "out", *flags)
    table = pq.read_table(output)
    good = np.ones(len(rows), bool)
    good[[10, 20]] = False
    assert table.column("pctr").is_null().to_numpy().tolist() == (~good).tolist()
    good[30] = False
    for name, values in measured.items():
        found = table.column(name).to_numpy()
        np.testing.assert_allclose(found[good], values[good], rtol=0, atol=1e-6)
    users = [row["user"] for row in rows]
    assert table.column("user").to_pylist() == [*users[:20], None, *users[21:]]
    listed = [line.split("\t") for line in (output / "_not_scored.tsv").read_text().splitlines()]
    assert [line[:3] for line in listed] == [
        ["rows.csv", "11", "number: found 'ten', expected int64"],
        ["rows.csv", "21", "columns"],
    ]

    with pytest.raises(DataError, match=r"2 rows of 200 .* \(--max_bad_fraction\).*\n.*'ten'"):
        refused(home, tmp_path / "rows.csv", tmp_path / "few", "--max_bad_fraction=0.005")

    flags = ("--bad_values=missing", "--max_bad_fraction=0.05")
    output = predicted(home, tmp_path / "rows.csv", tmp_path / "missing", *flags)
    assert pq.read_table(output).column("pctr").null_count == 1


def test_a_call_goes_on_with_the_parts_that_are_not_there(home, logs, tmp_path, monkeypatch):
    for name in ("a", "b"):
        shutil.copyfile(logs / "rows.csv", tmp_path / f"{name}.csv")
    text = (logs / "rows.csv").read_text().replace(",1149,", ",far,")  # record 150
    (tmp_path / "b.csv").write_text(text)
    monkeypatch.setattr("lt4rec_tf.data.input.scan._READ_TOGETHER", 60)
    flags = ("--part_rows=100", "--id_columns=number")
    files, output = tmp_path / "*.csv", tmp_path / "out"
    predicted(home, files, tmp_path / "whole", *flags)
    names = sorted(path.name for path in (tmp_path / "whole").glob("part-*"))
    assert names == [f"part-0000{file}-000{part}.parquet" for file in (0, 1) for part in (0, 1)]

    written = []

    def killed(path, *others):
        written.append(path)
        if len(written) == 2:  # within the first file
            raise KeyboardInterrupt
        return PartWriter(path, *others)

    with monkeypatch.context() as patch:
        patch.setattr("lt4rec_tf.experiment.scoring.files.PartWriter", killed)
        with pytest.raises(KeyboardInterrupt):
            refused(home, files, output, *flags, "--processes=1")
    first = output / "part-00000-0000.parquet"
    before = first.stat().st_mtime_ns
    assert [path.name for path in output.glob("part-*")] == [first.name]

    predicted(home, files, output, *flags)
    assert first.stat().st_mtime_ns == before
    for name in names:
        assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    listed = (output / "_not_scored.tsv").read_text()
    assert listed.startswith("b.csv\t150\tnumber: found 'far', expected int64\t")
    assert listed == (tmp_path / "whole" / "_not_scored.tsv").read_text()
    predicted(home, files, output, *flags)  # complete: nothing is done
    assert first.stat().st_mtime_ns == before

    with pytest.raises(RunError, match=r"settings\.part_rows: was 100, is 7"):
        refused(home, files, output, "--part_rows=7", "--id_columns=number")
    with (tmp_path / "b.csv").open("a") as file:
        file.write("\n")
    with pytest.raises(RunError, match=r"sources.b.csv: was \["):
        refused(home, files, output, *flags)


@pytest.mark.parametrize(
    ("flags", "error", "message"),
    [
        (["--id_columns=nothing"], DataError, "found no column 'nothing', expected one of user, "),
        (["--id_columns=user", "--model=s_joint"], RunError, "no model 's_joint'"),
        (["--id_columns=user", "--row=s_joint"], RunError, "no model 's_joint'"),  # its first name
        (["--format=parquet", "--output=a.parquet"], ConfigError, "--output: found 'a.parquet'"),
    ],
)
def test_what_predict_cannot_do_is_refused(home, logs, tmp_path, flags, error, message):
    with pytest.raises(error, match=message):
        refused(home, logs / "rows.csv", tmp_path / "out", *flags)


def test_a_column_that_is_nowhere_is_named_with_those_that_are_there(home, tmp_path):
    (tmp_path / "rows.csv").write_text("user,number,tags,length\nu,1,a,2\n")
    message = "found no column 'video', which .* the log's columns are user, number, tags, length"
    with pytest.raises(DataError, match=message):
        refused(home, tmp_path / "rows.csv", tmp_path / "out")


def test_train_can_be_called_with_flags_as_arguments(home, monkeypatch):
    seen = []
    monkeypatch.setattr(train, "run", lambda argv: seen.extend(argv) or home / "run")
    run = lt.train(schema="a.toml", data="logs", epochs=2, models=["base", "s_weight"], warmup=True)
    expected = ["--schema=a.toml", "--epochs=2", "--models=base,s_weight", "--warmup=true"]
    assert seen == ["train", *expected, "--data_dir=logs"]
    assert run.folder == home / "run"
