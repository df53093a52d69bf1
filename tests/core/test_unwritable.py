"""What the machine refuses to write is said in one line, and leaves nothing half-written."""

import errno
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.errors import UnwritableError, as_unwritable
from lt4rec_tf.data.simulator.__main__ import main as simulate
from lt4rec_tf.reports.tensorboard import log_scalars, open_writer
from lt4rec_tf.training import checkpoint
from tests.support.paths import PROJECT
from tests.support.refusals import ROOM, WORDS, no_file_above, refusing

BEHIND = " and start the same command again\n?$"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    return path


@pytest.mark.parametrize("kind", WORDS)
def test_a_file_that_cannot_be_written_is_named(folder, capsys, kind):
    path = folder / "config.json"
    with refusing(folder, kind):
        code = exit_on_error(lambda argv: artifacts.write_atomically(path, b"x" * 2 * ROOM), [])
        assert list(folder.iterdir()) == []
    assert code == 2
    said = capsys.readouterr().err
    assert re.match(rf"error: {path}: (cannot be written: )?{WORDS[kind]}{BEHIND}", said)


@pytest.mark.parametrize("kind", WORDS)
def test_variables_that_cannot_be_written_are_named(folder, kind):
    variables = {"a": tf.Variable(tf.zeros([ROOM]))}  # of 4 bytes
    with refusing(folder, kind):
        with pytest.raises(UnwritableError) as caught:
            checkpoint.save(folder / "weights", variables)
        assert list(folder.iterdir()) == []
    assert caught.match(f"^{folder}/weights: cannot be written: {WORDS[kind]}{BEHIND}")


@pytest.mark.parametrize("kind", ["full", "limit"])
def test_events_that_do_not_fit_are_not_lost_in_silence(folder, kind):
    with refusing(folder, kind):
        writer = open_writer(folder / "stage")
        log_scalars(writer, 0, {"loss/cvr": 0.5})
        with pytest.raises(UnwritableError, match=r"stage/.*tfevents.*: found half an event at"):
            log_scalars(writer, 1, {f"{'loss' * ROOM}/cvr": 0.5})


@pytest.mark.parametrize("kind", ["read-only", "another's"])
def test_a_folder_that_takes_no_events_is_named(folder, kind):
    with refusing(folder, kind), pytest.raises(UnwritableError) as caught:
        open_writer(folder)
    assert caught.match(f"^{folder}: cannot be written: {WORDS[kind]}{BEHIND}")


@pytest.mark.parametrize("kind", ["full", "limit"])
def test_a_simulator_without_room_goes_on_once_there_is_some(folder, capsys, kind):
    def simulated(place, days):
        argv = ["simulator", f"--dir={place}", "--rows=6000", f"--days={days}"]
        return exit_on_error(simulate, [*argv, "--shards_per_day=1"])

    with refusing(folder, kind):
        assert simulated(folder, 1) == 2
        said = capsys.readouterr().err
        assert not (folder / "manifest.json").exists()
    place = f"{folder}/(impressions|truth)/day_00_part_000.csv.gz"
    assert re.match(rf"error: {place}: cannot be written: {WORDS[kind]}{BEHIND}", said)
    assert said.count("\n") == 1

    assert simulated(folder, 1) == simulated(folder.parent / "other", 1) == 0
    manifest = (folder / "manifest.json").read_bytes()
    assert manifest == (folder.parent / "other" / "manifest.json").read_bytes()


PROGRAM = """
import sys
from lt4rec_tf.core.command import exit_on_error
def main(argv):
    print("a line that has no place")
sys.exit(exit_on_error(main, sys.argv))
"""


@pytest.mark.parametrize(
    ("unbuffered", "what"),
    [("", "standard output: cannot be written"), ("1", "cannot write a file, or the output")],
)
def test_output_that_has_no_room_is_said(unbuffered, what):
    command = [sys.executable, "-c", PROGRAM]
    given = {"env": os.environ | {"PYTHONUNBUFFERED": unbuffered}, "cwd": PROJECT}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, **given)
        mute = subprocess.run(command, stdout=full, stderr=full, **given)
    assert done.returncode == mute.returncode == 2
    assert re.match(f"error: {what}: the disk is full.*; free some space{BEHIND}", done.stderr)
    assert done.stderr.count("\n") == 1


def test_temporary_files_without_room_are_said(capsys, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)  # looked for anew
    with no_file_above(0):
        assert exit_on_error(lambda argv: tempfile.mkdtemp(), []) == 2
    assert "no folder takes temporary files (" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError(errno.EACCES, os.strerror(errno.EACCES), "/somewhere/a.csv"),
        OSError(errno.EIO, os.strerror(errno.EIO), "/somewhere/a.csv"),
        OSError(errno.EISDIR, os.strerror(errno.EISDIR), "/somewhere/a.csv"),
        OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "/somewhere/a.csv"),
        OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "/somewhere/a.csv"),
        OSError(errno.ESTALE, os.strerror(errno.ESTALE), "/somewhere/a.csv"),
        tf.errors.UnknownError(None, None, "events.out; No space left on device"),
        tf.errors.OutOfRangeError(None, None, "events.out; File too large"),
    ],
)
def test_a_command_says_in_one_line_what_the_machine_refuses(capsys, error):
    def main(argv):
        raise error

    assert exit_on_error(main, []) == 2
    said = capsys.readouterr().err
    assert said == f"error: {as_unwritable(error)}\n"
    assert said.count("\n") == 1
    assert "start the same command again" in said


def test_other_errors_stay_what_they_are():
    for other in (
        OSError(errno.EINVAL, os.strerror(errno.EINVAL)),
        ValueError("a feature named Permission denied"),
        tf.errors.OutOfRangeError(None, None, "End of sequence"),
    ):
        assert as_unwritable(other) is None

        def main(argv, error=other):
            raise error

        with pytest.raises(type(other)):
            exit_on_error(main, [])
