"""docs/own_logs.md from its first command to a served answer, as a reader types them."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.data.convert import command as convert
from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.data.simulator import __main__ as simulator
from tests.serving_stand_in.folders_served import serve_folders
from tests.support.commands import run_training
from tests.support.paths import PROJECT

pytestmark = pytest.mark.slow(minutes=1)
DOCUMENT = (PROJECT / "docs" / "own_logs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", DOCUMENT, re.DOTALL)
PROCESSES = ("lt4rec_tf.train", "lt4rec_tf.data.convert")
MAINS = {
    "lt4rec_tf.data.convert": convert.main,
    "lt4rec_tf.data.inspect": inspect.main,
    "lt4rec_tf.data.simulator": lambda argv: exit_on_error(simulator.main, argv),
}
# The page trains all rows.
QUICK = "--models=hard_sharing --hidden_units=16,8 --embedding_dim=4 --reading=memory"


def commands():
    """The commands of the page in its order, and the program that it shows."""
    for language, text in BLOCKS:
        if language == "bash":
            yield from text.replace("\\\n", " ").splitlines()


def run(command, folder, url, is_first):
    """What a command prints; of those that write files the first of a module is a process."""
    program, *words = shlex.split(command)
    assert program == "python"
    if words[:2] == ["-m", "lt4rec_tf.train"]:
        words += shlex.split(QUICK)
    if words[0] == "-m" and not (is_first and words[1] in PROCESSES):
        return printed_here(words[1], words[2:], folder)
    if words[0] == "export/client.py":
        words = [str(PROJECT / words[0]), *words[1:], f"--url={url}"]
    made = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={"PYTHONPATH": str(PROJECT), "PATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert made.returncode == 0, f"{command}: {made.stderr[-2000:]}"
    return made.stdout


def printed_here(module, flags, folder):
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as out:
        if module == "lt4rec_tf.train":
            run_training(*flags)
        else:
            assert MAINS[module]([module, *flags]) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The folder of someone who follows the page."""
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="module")
def printed(reader):
    """By command what it printed."""
    programs = [text for language, text in BLOCKS if language == "python"]
    assert len(programs) == 1
    (reader / "make_logs.py").write_text(programs[0], encoding="utf-8")
    outputs, modules = {}, set()
    for command in commands():
        module = " ".join(command.split()[:3])
        is_first = module not in modules
        modules.add(module)
        if "client.py" not in command:
            outputs[command] = run(command, reader, "", is_first)
            continue
        with serve_folders({"feed": Path(reader / "run" / "saved_model")}) as url:
            outputs[command] = run(command, reader, url, is_first)
    return outputs


def test_the_schema_that_the_other_page_shows_is_the_one_that_is_written(printed, reader):
    page = (PROJECT / "docs" / "schema.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(name = \"logs\".*?)```", page, re.DOTALL)
    assert shown in (reader / "feed.toml").read_text(encoding="utf-8")


def of(printed, word):
    return next(text for command, text in printed.items() if word in command)


def test_every_step_is_on_the_page(printed):
    for word in ("simulator", "inspect", "train", "convert", "client.py"):
        assert of(printed, word)


def test_what_the_look_shows_is_what_it_prints(printed):
    found = of(printed, "inspect")
    (shown,) = re.findall(r"```\n(column  .*?)```", DOCUMENT, re.DOTALL)
    for line in shown.splitlines():
        if line != "...":
            assert line.replace("logs", "") in found.replace("logs", "") or "--data_dir" in line


def test_what_a_history_is_made_of_is_what_is_printed(printed, reader):
    (shown,) = re.findall(r"```\n(history: .*?)```", DOCUMENT, re.DOTALL)
    lines = of(printed, "--history=").splitlines()
    assert [line for line in shown.splitlines() if line not in (*lines, "...")] == []
    other_page = (PROJECT / "docs" / "history.md").read_text(encoding="utf-8")
    assert "\n".join(shown.splitlines()[:4]) in other_page
    schema = (reader / "with_history" / "schema.toml").read_text(encoding="utf-8")
    for name in ("history_item_id", "history_author_id", "history_age_s"):
        assert f'name = "{name}"' in schema


def test_what_the_audit_says_is_what_is_printed(printed):
    (shown,) = re.findall(r"```\n(20000 records.*?)```", DOCUMENT, re.DOTALL)
    assert shown in of(printed, "--run_dir=run")


def test_logs_and_their_shards_train_the_same_network(printed):
    def results(text):
        (row,) = re.findall(r"\| hard_sharing \|.*", text)
        return row.split("|")[2:7]

    runs = [text for command, text in printed.items() if "lt4rec_tf.train" in command]
    assert results(runs[0]) == results(runs[1])


def test_the_served_model_answers_for_each_row(printed):
    header, *rows = of(printed, "client.py").splitlines()
    assert header == "pctcvr,pctr,pcvr"
    assert len(rows) == 3
    for row in rows:
        both, click, watch = map(float, row.split(","))
        assert 0 < click < 1
        assert both == pytest.approx(click * watch, abs=1e-6)
