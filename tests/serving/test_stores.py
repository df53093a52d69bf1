"""Versions in a store: numbered, complete before their graph is there, removed by number."""

import fsspec
import pytest

from lt4rec_tf.core.locations import location
from lt4rec_tf.serving.publish import PublishError
from lt4rec_tf.serving.stores import put


@pytest.fixture
def store():
    memory = fsspec.filesystem("memory")
    yield location("memory://models/feed")
    if memory.exists("/models"):
        memory.rm("/models", recursive=True)


@pytest.fixture
def version(tmp_path):
    files = {"saved_model.pb": b"graph", "variables/variables.index": b"i", "model_card.md": b"#"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_versions_are_numbered_in_the_store(store, version):
    assert [put(version, store).name for _ in range(3)] == ["1", "2", "3"]
    assert names(store / "3") == ["model_card.md", "saved_model.pb", "variables/variables.index"]
    assert (store / "3" / "saved_model.pb").read_bytes() == b"graph"


def test_the_newest_versions_are_kept(store, version):
    for _ in range(4):
        put(version, store, keep_versions=2)
    (store / "notes").mkdir()
    (store / "notes" / "a.txt").write_text("no version")
    assert put(version, store, keep_versions=2).name == "5"
    assert sorted({name.split("/")[0] for name in names(store)}) == ["4", "5", "notes"]


@pytest.mark.parametrize("number", [-1, 1])
def test_a_server_is_never_left_the_new_version_alone(store, version, number):
    with pytest.raises(PublishError, match=f"keep_versions: found {number}, expected 0, which"):
        put(version, store, keep_versions=number)
    assert not store.exists()


def test_the_graph_comes_last_and_a_version_that_was_begun_is_removed(store, version, monkeypatch):
    written = []
    write = type(store).write_bytes

    def write_two(path, content):
        if len(written) == 2:
            raise PermissionError("no more")
        written.append(path.name)
        return write(path, content)

    monkeypatch.setattr(type(store), "write_bytes", write_two)
    with pytest.raises(PublishError, match=r"feed/1: cannot publish here \(no more\)"):
        put(version, store)
    assert sorted(written) == ["model_card.md", "variables.index"]
    assert names(store) == []
