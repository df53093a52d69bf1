"""Globs and names of files that are unusual, or cannot be used."""

import os

import pytest

from lt4rec_tf.data.formats.discovery import find
from lt4rec_tf.data.formats.files import DataError, expand


@pytest.fixture
def log(tmp_path):
    """A log in folders whose names look like patterns."""
    path = tmp_path / "a[1]" / "b*c" / "x.csv"
    path.parent.mkdir(parents=True)
    path.write_text("user,click\nu,1\n")
    (tmp_path / "a1").mkdir()
    return path


@pytest.mark.parametrize("pattern", ["a[1]/b*c/*.csv", "a[1]/*/x.csv", "a[1]", "a*/**/*.csv"])
def test_brackets_of_folders_are_names(tmp_path, log, pattern):
    assert expand(tmp_path, [pattern]).paths == (log,)
    root, patterns, found = find([f"{tmp_path}/{pattern}"])
    assert found.paths == expand(root, patterns).paths == (log,)


def test_an_absolute_glob_of_the_folder_is_one_of_its_files(tmp_path, log):
    assert expand(tmp_path, [f"{log.parent}/*.csv"]).paths == (log,)
    with pytest.raises(DataError, match="expected a glob relative to it"):
        expand(tmp_path / "a1", [f"{log.parent}/*.csv"])


@pytest.mark.parametrize("pattern", ["**x", "x" * 5000, "a\0b", "[", "none*/"])
def test_what_is_no_glob_is_refused(tmp_path, log, pattern):
    with pytest.raises(DataError, match="expected"):
        expand(tmp_path / "a1", [pattern])


def test_a_name_that_is_no_utf_8_is_refused(tmp_path, log):
    (tmp_path / os.fsdecode(b"\xff.csv")).write_text("user,click\nu,1\n")
    with pytest.raises(DataError, match=r"udcff\.csv': found a name that is no UTF-8"):
        expand(tmp_path, ["*.csv"])
