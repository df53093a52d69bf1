"""A full disk is said in one line, wherever it is met."""

import errno
import os

import pytest
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.errors import DiskFullError, is_disk_full
from lt4rec_tf.training import checkpoint

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def full(monkeypatch):
    """A disk that takes no more: what is written reaches it at the latest by fsync."""

    def refuse(descriptor):
        raise FULL

    monkeypatch.setattr(os, "fsync", refuse)


def test_a_file_that_does_not_fit_is_named(tmp_path, full):
    path = tmp_path / "config.json"
    with pytest.raises(DiskFullError, match=r"config.json: cannot be written: the disk is full"):
        artifacts.write_json(path, {"a": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_fit_is_named(tmp_path, monkeypatch):
    def refuse(*, prefix, **_):
        raise tf.errors.ResourceExhaustedError(None, None, f"{prefix}; No space left on device")

    monkeypatch.setattr(tf.raw_ops, "SaveV2", refuse)
    with pytest.raises(DiskFullError, match="weights: cannot be written"):
        checkpoint.save(tmp_path / "weights", {"a": tf.Variable([1.0])})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        tf.errors.UnknownError(None, None, "events.out; No space left on device"),
    ],
)
def test_every_command_says_in_one_line_that_a_disk_is_full(capsys, error):
    def main(argv):
        raise error

    assert exit_on_error(main, []) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: cannot write: the disk is full (")
    assert said.count("\n") == 1


def test_other_errors_stay_what_they_are():
    other = OSError(errno.EACCES, os.strerror(errno.EACCES))
    assert not is_disk_full(other)

    def main(argv):
        raise other

    with pytest.raises(PermissionError):
        exit_on_error(main, [])
