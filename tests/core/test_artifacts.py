"""Files and folders that are whole or absent, and locks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.errors import UnwritableError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Stopped(Exception):
    """Stands for whatever ends a stage in its middle."""


@pytest.mark.parametrize("content", ["", "watch ratio ≤ 1\n", b"\x00\xff\r\n"])
def test_a_file_holds_what_was_written(tmp_path, content):
    path = tmp_path / "new" / "folder" / "file"
    artifacts.write_atomically(path, content)
    expected = content.encode("utf-8") if isinstance(content, str) else content
    assert path.read_bytes() == expected
    assert names(path.parent) == ["file"]


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "file"
    artifacts.write_atomically(path, "a long first content")
    artifacts.write_atomically(path, "short")
    assert path.read_text() == "short"
    assert names(tmp_path) == ["file"]


def test_a_file_that_cannot_be_put_in_place_leaves_nothing_behind(tmp_path):
    (tmp_path / "taken" / "child").mkdir(parents=True)
    with pytest.raises(UnwritableError, match="taken: cannot be written: a folder has its name"):
        artifacts.write_atomically(tmp_path / "taken", "content")
    assert names(tmp_path) == ["taken"]
    assert names(tmp_path / "taken") == ["child"]


@given(json_values)
def test_json_round_trip(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "value.json"
    artifacts.write_json(path, value)
    assert artifacts.read_json(path) == value


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "value.json"
    artifacts.write_json(path, {"auc": 0.5})
    with pytest.raises(TypeError):
        artifacts.write_json(path, {"auc": object()})
    assert artifacts.read_json(path) == {"auc": 0.5}
    assert names(tmp_path) == ["value.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"{} {}", b"\xff\xfe"])
def test_json_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "value.json"
    path.write_bytes(content)
    with pytest.raises(artifacts.RunError, match=r"value\.json: not (JSON|UTF-8)"):
        artifacts.read_json(path)


def test_json_that_is_absent_is_named(tmp_path):
    with pytest.raises(artifacts.RunError, match=r"absent\.json: no such file"):
        artifacts.read_json(tmp_path / "absent.json")


def test_a_folder_appears_when_it_is_complete(tmp_path):
    folder = tmp_path / "runs" / "level_0"

    def write(temporary):
        assert temporary.parent == folder.parent
        assert names(temporary) == []
        (temporary / "weights").write_text("w")
        assert not folder.exists()

    artifacts.write_folder_atomically(folder, write)
    assert names(folder) == ["weights"]
    assert names(folder.parent) == ["level_0"]


def test_a_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "saved_model"
    artifacts.write_folder_atomically(folder, lambda temporary: (temporary / "old").touch())
    artifacts.write_folder_atomically(folder, lambda temporary: (temporary / "new").touch())
    assert names(folder) == ["new"]
    assert names(tmp_path) == ["saved_model"]


def test_a_folder_that_fails_leaves_the_old_one_and_no_temporary(tmp_path):
    folder = tmp_path / "saved_model"
    artifacts.write_folder_atomically(folder, lambda temporary: (temporary / "old").touch())

    def write(temporary):
        (temporary / "new").touch()
        raise Stopped

    with pytest.raises(Stopped):
        artifacts.write_folder_atomically(folder, write)
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["saved_model"]


def test_a_stage_is_done_once_it_is_marked(tmp_path):
    stage = tmp_path / "level_0"
    assert not artifacts.is_done(stage)
    stage.mkdir()
    assert not artifacts.is_done(stage)
    artifacts.mark_done(stage)
    assert artifacts.is_done(stage)
    artifacts.mark_done(stage)
    assert names(stage) == [artifacts.DONE]


def test_folders_leaves_out_files_and_temporary_folders(tmp_path):
    assert artifacts.folders(tmp_path / "absent") == []
    (tmp_path / "1").mkdir()
    (tmp_path / ".2.abc.tmp").mkdir()
    (tmp_path / "file").touch()
    assert artifacts.folders(tmp_path) == [tmp_path / "1"]
