"""From the command line to a run's folder: what is refused, and with which words."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from lt4rec_tf import evaluate, export, train
from lt4rec_tf.config.parse import fingerprint, parse
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.artifacts import RunError
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.core.toml import TomlError
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.simulator.world import SimulatorError
from lt4rec_tf.distributed.cluster import ClusterError
from lt4rec_tf.experiment import logs
from lt4rec_tf.experiment.daily.lineage import DayError
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.paths import run_folder
from lt4rec_tf.experiment.run_folder import FORMAT_VERSION, claim_folder, read_run
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import SchemaError
from lt4rec_tf.serving.publish import PublishError
from lt4rec_tf.serving.warmup import WarmupError
from lt4rec_tf.tickets.masks import MaskError
from lt4rec_tf.training.checkpoint import CheckpointError
from lt4rec_tf.training.stage import TrainingError
from tests.support import feeds
from tests.support.commands import run_training
from tests.support.feeds import good_row, line, write_lines
from tests.support.paths import PROJECT

pytestmark = pytest.mark.slow(minutes=1)

SMALL = [
    "--name=feed",
    "--epochs=1",
    "--embedding_dim=2",
    "--hidden_units=4",
    "--models=hard_sharing",
    "--reading=memory",
]
SPLIT = ["--validation_from=4", "--test_from=5"]


@pytest.fixture
def folder(tmp_path):
    """A folder with a schema and logs/a.csv, in which 1 row of 61 cannot be used."""
    (tmp_path / "logs").mkdir()
    rows = [line(good_row(number)) for number in range(60)]
    write_lines(tmp_path / "logs" / "a.csv", [*rows, line(good_row(60, click="7"))])
    feeds.schema(tmp_path, glob="*.csv")
    return tmp_path


def train_flags(folder, *more):
    places = [f"--schema={folder}/small.toml", f"--data_dir={folder}/logs"]
    return [*places, f"--run_dir={folder}/run", *SMALL, *SPLIT, *more]


def ended(capsys, main, *flags):
    """Exit code, printed text and error text of a command."""
    capsys.readouterr()
    code = exit_on_error(main, ["command", *flags])
    out, err = capsys.readouterr()
    return code, out, err


def refusal(capsys, main, *flags):
    """The message of a command that ends with exit code 2."""
    code, _, err = ended(capsys, main, *flags)
    assert code == 2, err
    return err[err.index("error: ") :]


def one_line(message):
    assert message.count("\n") == 1, message
    return message


@pytest.fixture
def untrained(folder, capsys):
    """A run that stopped because its logs are too dirty."""
    message = refusal(capsys, train.main, *train_flags(folder))
    assert "found 1 unusable rows of 61 (bad_label 1 (click: column click)) in a.csv" in message
    assert "expected at most a fraction 0.01" in message
    assert "a.csv record 61: bad_label: '60,u4,v5,t0|t0,6,100,7,'" in message
    return folder / "run"


def test_a_run_that_stops_at_its_audit_keeps_the_counts(untrained):
    found = artifacts.read_json(untrained / "data.json")
    assert found["rows"] == 61
    assert found["unusable"] == {"bad_label": 1}
    assert not (untrained / "initial").exists()


def test_other_settings_are_refused_with_each_difference(untrained, folder, capsys):
    before = (untrained / "config.json").read_bytes()
    changes = ["--epochs=3", "--tasks=ctr", "--seed=2", "--max_bad_fraction=0.5"]
    message = refusal(capsys, train.main, *train_flags(folder, *changes))
    assert f"{untrained} was made with other settings" in message
    assert "settings.training.epochs: was 1, is 3" in message
    assert "settings.tasks: was [], is ['ctr']" in message
    assert "settings.seed: was 1, is 2" in message
    assert "settings.data.max_bad_fraction: was 0.01, is 0.5" in message
    assert message.count("was ") == 5
    assert (untrained / "config.json").read_bytes() == before


def test_another_schema_is_refused_with_each_line_that_differs(untrained, folder, capsys):
    path = folder / "small.toml"
    path.write_text(path.read_text().replace("buckets = 50", "buckets = 60"))
    message = refusal(capsys, train.main, *train_flags(folder))
    assert "buckets = 50" in message
    assert "buckets = 60" in message
    assert "buckets = 100" not in message


def test_logs_that_are_mended_before_training_are_read_again(untrained, folder, capsys):
    path = folder / "logs" / "a.csv"
    path.write_bytes(path.read_bytes().replace(b",7,\n", b",0,\n"))  # of the same size
    run_training(*train_flags(folder))
    assert "61 records, 0 without use" in capsys.readouterr().out
    assert artifacts.read_json(untrained / "data.json")["unusable"] == {}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, run) of a small finished run; 1 of its 61 rows cannot be used."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "logs").mkdir()
    rows = [line(good_row(number)) for number in range(60)]
    write_lines(folder / "logs" / "a.csv", [*rows, line(good_row(60, click="7"))])
    feeds.schema(folder, glob="*.csv")
    flags = train_flags(folder, "--max_bad_fraction=0.05")
    run_training(*flags)
    return folder, folder / "run", flags


def test_few_unusable_rows_are_printed_and_kept(trained, capsys):
    _, run, flags = trained
    run_training(*flags)
    out = capsys.readouterr().out
    assert (
        "61 records, 1 without use\n  bad_label                          1  click: column click\n"
        in out
    )
    assert artifacts.read_json(run / "data.json")["unusable_by_file"] == {"a.csv": {"bad_label": 1}}


@contextlib.contextmanager
def put_aside(path, content=None):
    """Gives a file other content, or makes it, for the time being."""
    old = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    try:
        yield
    finally:
        path.unlink() if old is None else path.write_bytes(old)


def commands_on(folder, run, flags):
    """By name a command that reads a run's logs, and its flags."""
    return {
        "train": (train.main, flags),
        "evaluate": (evaluate.main, [f"--run={run}"]),
        "export": (export.main, [f"--run={run}", f"--export_dir={folder}/models"]),
    }


@pytest.mark.parametrize("command", ["train", "evaluate", "export"])
def test_logs_that_changed_after_training_are_refused_by_name(trained, capsys, command):
    folder, run, flags = trained
    main, flags = commands_on(folder, run, flags)[command]
    log = folder / "logs" / "a.csv"
    size = log.stat().st_size
    with put_aside(folder / "logs" / "b.csv", log.read_bytes()):
        message = refusal(capsys, main, *flags)
    assert f"b.csv: was None, is {size}" in message
    assert "a.csv" not in message
    with put_aside(log, log.read_bytes() + line(good_row(61)) + b"\n"):
        message = refusal(capsys, main, *flags)
    assert f"a.csv: was {size}, is {log.stat().st_size + len(line(good_row(61))) + 1}" in message
    assert not (folder / "models").exists()


@contextlib.contextmanager
def equal_size(log, keep_time):
    """Gives a log other users for the time being, behind the back of its size, and its time."""
    before, content = log.stat(), log.read_bytes()
    other = content.replace(b"u4,v5", b"u5,v4", 1)
    assert len(other) == len(content)
    assert other != content
    with put_aside(log, other):
        if keep_time:
            os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))
        yield
    os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("command", "keep_time"),
    [("train", True), ("train", False), ("evaluate", True), ("evaluate", False), ("export", True)],
)
def test_logs_of_equal_size_that_hold_something_else_are_refused(
    trained, capsys, command, keep_time
):
    folder, run, flags = trained
    main, flags = commands_on(folder, run, flags)[command]
    log = folder / "logs" / "a.csv"
    with equal_size(log, keep_time):
        message = refusal(capsys, main, *flags)
    assert f"the logs are not those of {run}; found another content of the same size" in message
    assert f"\n  {log}\n" in message


def test_a_run_that_noted_sizes_alone_is_opened_as_before(trained, capsys):
    folder, run, _ = trained
    data = (run / "data.json").read_bytes()
    noted = json.loads(data)
    del noted["contents"]
    with (
        put_aside(run / "data.json", json.dumps(noted).encode()),
        equal_size(folder / "logs" / "a.csv", keep_time=True),
    ):
        assert open_run(str(run), "")[0] == run


@pytest.mark.parametrize("command", ["train", "evaluate", "export"])
def test_a_runs_schema_that_was_edited_is_refused(trained, capsys, command):
    folder, run, flags = trained
    main, flags = commands_on(folder, run, flags)[command]
    text = (run / "schema.toml").read_text()
    edited = text.replace("buckets = 100", "buckets = 200", 1)
    assert edited != text
    with put_aside(run / "schema.toml", edited.encode()):
        message = refusal(capsys, main, *flags)
    expected = {"train": "schema "}.get(command, "schema.toml: found another schema than the run")
    assert expected in message


def test_a_vocabulary_in_another_order_is_refused(folder, capsys):
    text = (folder / "small.toml").read_text()
    hashed = 'ids = { kind = "hash", buckets = 100 }'
    values = 'ids = { kind = "vocabulary", vocabulary = ["v1", "v2"] }'
    (folder / "small.toml").write_text(text.replace(hashed, values, 1))
    settings, _ = settings_of(folder)
    run = folder / "run"
    claim_folder(run, settings, {"a.csv": 3})
    assert read_run(run)[1].features[1].ids.vocabulary == ("v1", "v2")

    schema = run / "schema.toml"
    schema.write_text(schema.read_text().replace('"v1", "v2"', '"v2", "v1"'))
    for main, more in [(evaluate.main, []), (export.main, [f"--export_dir={folder}/models"])]:
        message = one_line(refusal(capsys, main, f"--run={run}", *more))
        assert f"{schema}: found another schema than the run was made with" in message

    config = artifacts.read_json(run / "config.json")
    del config["schema_sha256"]
    artifacts.write_json(run / "config.json", config)  # of a version that did not note it
    assert read_run(run)[1].features[1].ids.vocabulary == ("v2", "v1")


def test_a_model_that_is_not_trained_is_named(untrained, folder, capsys):
    for main, more in [(evaluate.main, []), (export.main, [f"--export_dir={folder}/models"])]:
        message = one_line(refusal(capsys, main, f"--run={untrained}", *more))
        assert f"{untrained}: model hard_sharing is not trained; run train again" in message


def test_a_model_that_the_run_does_not_have_is_named(trained, capsys, tmp_path):
    _, run, _ = trained
    message = refusal(
        capsys, export.main, f"--run={run}", f"--export_dir={tmp_path}/m", "--model=s_weight"
    )
    assert "no model 's_weight', expected one of hard_sharing" in one_line(message)
    assert not (tmp_path / "m").exists()


def test_logs_may_lie_elsewhere_later(trained, capsys, tmp_path):
    folder, run, _ = trained
    (folder / "logs").rename(tmp_path / "moved")
    try:
        message = one_line(refusal(capsys, evaluate.main, f"--run={run}"))
        assert f"{folder}/logs: no file matches '*.csv'" in message
        code, *_ = ended(capsys, evaluate.main, f"--run={run}", f"--data_dir={tmp_path}/moved")
        assert code == 0
    finally:
        (tmp_path / "moved").rename(folder / "logs")


def test_another_split_is_measured_into_a_file_of_its_own(trained, capsys):
    _, run, _ = trained
    before = (run / "evaluation.json").read_bytes()
    code, out, _ = ended(capsys, evaluate.main, f"--run={run}", "--split=validation")
    assert code == 0
    assert artifacts.read_json(run / "evaluation_validation.json")["split"] == "validation"
    assert f"written to {run}/evaluation_validation.json" in out
    assert (run / "evaluation.json").read_bytes() == before


NO_RUNS = {
    "absent": (None, "config.json: no such file"),
    "empty": ({}, "config.json: no such file"),
    "of another program": ({"config.json": '{"layers": 3}'}, "config.json: found format None"),
    "of another version": ({"config.json": '{"format": 99}'}, "config.json: found format 99"),
    "no JSON": ({"config.json": "{"}, "config.json: not JSON"),
    "a list": ({"config.json": "[]"}, "config.json: found [], expected an object"),
}


@pytest.mark.parametrize(("files", "expected"), NO_RUNS.values(), ids=NO_RUNS)
def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys, files, expected):
    run = tmp_path / "run"
    if files is not None:
        run.mkdir()
        for name, content in files.items():
            (run / name).write_text(content)
    for main, more in [(evaluate.main, []), (export.main, [f"--export_dir={tmp_path}/m"])]:
        message = one_line(refusal(capsys, main, f"--run={run}", *more))
        assert f"{run}/{expected}" in message
    assert not (tmp_path / "m").exists()


def test_train_does_not_take_the_folder_of_another_program(folder, capsys):
    (folder / "run").mkdir()
    (folder / "run" / "config.json").write_text('{"layers": 3}')
    message = refusal(capsys, train.main, *train_flags(folder))
    assert f"config.json: found format None, expected {FORMAT_VERSION}" in one_line(message)


def test_a_second_process_on_a_run_is_refused_until_the_first_ends(untrained, folder, capsys):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from lt4rec_tf.core import artifacts\n"
            "with artifacts.locked(Path(sys.argv[1])):\n"
            "    print('held', flush=True)\n    time.sleep(99)",
            str(untrained),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        message = refusal(capsys, train.main, *train_flags(folder))
        assert f"{untrained}: another process works on this run" in one_line(message)
        holder.send_signal(signal.SIGKILL)
    assert "unusable rows" in refusal(capsys, train.main, *train_flags(folder))


def test_what_a_killed_process_left_half_written_is_swept(untrained, folder, capsys):
    leftovers = [
        untrained / ".config.json.0123.tmp",
        untrained / "tickets" / "ctr" / "level_0" / ".masks.npz.0123.tmp",
        untrained / "initial" / ".training.0123.tmp" / "variables.index",
        untrained / "saved_model" / ".tmp-0123" / "saved_model.pb",
    ]
    kept = untrained / "tickets" / "ctr" / "level_0" / "masks.npz"
    for path in [*leftovers, kept]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    refusal(capsys, train.main, *train_flags(folder))
    assert [path for path in untrained.rglob("*") if "0123" in str(path)] == []
    assert kept.exists()


@pytest.mark.parametrize("main", [train.main, evaluate.main, export.main])
def test_help_ends_with_success(capsys, main):
    with pytest.raises(SystemExit) as stop:
        exit_on_error(main, ["command", "--help"])
    assert stop.value.code == 0
    assert "--run" in capsys.readouterr().out


@pytest.mark.parametrize("main", [train.main, evaluate.main, export.main])
@pytest.mark.parametrize("flag", ["--no_such_flag=1", "--split=hour", "stray"])
def test_flags_that_cannot_be_are_refused(capsys, main, flag):
    assert flag.removeprefix("--").partition("=")[0] in refusal(capsys, main, flag)


def test_a_process_that_refuses_says_so_without_a_stack_trace():
    ended = subprocess.run(
        [sys.executable, "-m", "lt4rec_tf.train", "--no_such_flag=1"],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 2
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "no_such_flag" in last
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--schema={folder}/absent.toml", "absent.toml: cannot be read"),
        ("--schema={folder}/logs", "logs: "),
        ("--schema={folder}/logs/a.csv", "a.csv: "),
        ("--data_dir={folder}/absent", "absent: no file matches '*.csv'"),
        ("--data_dir={folder}/small.toml", "small.toml: no file matches '*.csv'"),
        ("--tasks=ctr,like", "like"),
        ("--models=cross_stitch", "--models: found ('cross_stitch',), expected some of"),
        ("--run_dir={folder}/small.toml", "small.toml"),
        ("--run_dir={folder}/small.toml/run", "small.toml"),
        ("--loss_weights=like=2", "--loss_weights: found 'like'"),
        ("--own_embedding=like=2", "--own_embedding: found 'like'"),
        ("--validation_from=90", "test_from"),
        ("--test_from=90", "test: found no usable row"),
        ("--test_from=soon", "--test_from: found 'soon', expected a number, or a date such as"),
        ("--test_from=2026-11-25", "column day holds no dates and no seconds"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(folder, capsys, flag, expected):
    flags = train_flags(folder, "--max_bad_fraction=0.5", flag.format(folder=folder))
    assert expected in one_line(refusal(capsys, train.main, *flags))
    assert not (folder / "run" / "initial").exists()


def test_evaluate_and_export_ask_for_their_folders(capsys):
    assert "--run: found nothing" in one_line(refusal(capsys, evaluate.main))
    assert "--run: found nothing" in one_line(refusal(capsys, export.main, "--export_dir=models"))
    assert "--export_dir: found nothing" in one_line(refusal(capsys, export.main, "--run=run"))


@pytest.mark.parametrize("number", [-1, 1])
def test_an_export_refuses_its_numbers_before_it_reads_the_run(capsys, number):
    flags = ("--run=none", "--export_dir=models", f"--keep_versions={number}")
    line = one_line(refusal(capsys, export.main, *flags))
    assert f"--keep_versions: found {number}, expected 0, which keeps all, or 2 or more" in line


def test_side_tables_are_part_of_the_logs(folder):
    (folder / "logs" / "videos.tsv").write_text("video\tlanguage\nv1\tzh\n")
    path = folder / "small.toml"
    path.write_text(
        path.read_text().replace('files = ["*.csv"]', 'files = ["*.csv"]\njoins = [{ file = '
        '"videos.tsv", format = "tsv", key = "video" }]')
    )  # fmt: skip
    settings, _ = settings_of(folder)
    source = logs.open_logs(settings.data, load_schema(path))
    sizes = logs.file_sizes(source)
    assert sizes == {
        name: (folder / "logs" / name).stat().st_size for name in ("a.csv", "videos.tsv")
    }


def settings_of(folder, *more):
    return parse(["train", *train_flags(folder, *more)], "")


def test_a_run_without_a_folder_lies_below_the_output_dir(folder):
    flags = ["--run_dir=", f"--output_dir={folder}/runs", "--seed=7"]
    settings, places = settings_of(folder, *flags)
    text = (folder / "small.toml").read_text()
    name = f"feed-{fingerprint(settings, text)}"
    assert run_folder(settings, places) == folder / "runs" / name / "seed_7"
    other, _ = settings_of(folder, *flags, "--epochs=2")
    assert run_folder(other, places).parent != run_folder(settings, places).parent
    other, _ = settings_of(folder, *flags, "--seed=8")
    assert run_folder(other, places) == folder / "runs" / name / "seed_8"


def test_a_run_reads_back_its_settings_and_schema(folder):
    settings, _ = settings_of(folder, "--tasks=cvr", "--loss_weights=cvr=2")
    run = folder / "run"
    claim_folder(run, settings, {"a.csv": 3})
    (folder / "small.toml").unlink()  # the run has a copy
    found, schema = read_run(run)
    assert found == settings
    assert [task.name for task in schema.tasks] == ["cvr"]
    assert json.loads((run / "config.json").read_text())["files"] == {"a.csv": 3}


def test_a_run_is_claimed_again_by_the_same_settings(folder):
    settings, _ = settings_of(folder)
    files = {"a.csv": 3}
    claim_folder(folder / "run", settings, files)
    before = (folder / "run" / "config.json").read_bytes()
    claim_folder(folder / "run", settings, files)
    assert (folder / "run" / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    "error",
    [
        CheckpointError,
        ClusterError,
        ConfigError,
        DataError,
        DayError,
        MaskError,
        PublishError,
        RunError,
        SchemaError,
        SimulatorError,
        TomlError,
        TrainingError,
        WarmupError,
    ],
)
def test_expected_errors_become_one_message(capsys, error):
    def main(argv):
        raise error("what was found")

    assert ended(capsys, main) == (2, "", "error: what was found\n")


def test_faults_of_the_program_keep_their_stack_trace():
    def main(argv):
        raise AssertionError("a fault")

    with pytest.raises(AssertionError, match="a fault"):
        exit_on_error(main, ["command"])


def test_an_interrupted_command_says_how_to_go_on(capsys):
    def main(argv):
        raise KeyboardInterrupt

    code, _, err = ended(capsys, main)
    assert code == 130
    assert "the same command goes on" in err
