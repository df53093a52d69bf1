"""What is on the disk when the power is cut: on an ext4 image, and by the order of calls.

An image that is copied while it is mounted holds what reached the disk until then: an operating
system that starts again finds the copy.
"""

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.training import checkpoint


@dataclass
class State:
    epoch: int


def run(*command):
    return subprocess.run(list(map(str, command)), check=False, capture_output=True)


@contextlib.contextmanager
def mounted(image, place):
    place.mkdir()
    done = run("mount", "-o", "loop,commit=600", image, place)  # no write by the clock
    if done.returncode:
        pytest.skip(f"this machine mounts no image: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        run("umount", place)


@pytest.fixture
def disk(tmp_path):
    """(a folder on a disk, a function: the folder as it is found after a power cut now)."""
    if os.geteuid() or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4, to mount a disk image")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 * 2**20)
    assert run("mkfs.ext4", "-q", image).returncode == 0

    with mounted(image, tmp_path / "disk") as folder, contextlib.ExitStack() as stack:

        def cut():
            copy = tmp_path / "copy"
            shutil.copyfile(image, copy)
            return stack.enter_context(mounted(copy, tmp_path / "after"))

        yield folder, cut


def test_this_disk_forgets_what_was_not_synced(disk):
    folder, cut = disk
    (folder / "file").write_bytes(b"x" * 10_000)
    assert not (cut() / "file").exists()


def test_what_was_written_is_there_after_a_power_cut(disk):
    folder, cut = disk
    variables = {"weights": tf.Variable(tf.range(1000.0)), "bias": tf.Variable([1.0, 2.0])}
    checkpoint.save_progress(folder / "progress" / "1", variables, vars(State(3)))
    artifacts.write_json(folder / "new" / "history.json", {"auc": 0.5})
    (folder / "best").mkdir()
    (folder / "best" / "file").write_bytes(b"of the last epoch")
    artifacts.copy_folder(folder / "best", folder / "copied")
    artifacts.mark_done(folder)

    after = cut()
    assert artifacts.is_done(after)
    assert artifacts.read_json(after / "new" / "history.json") == {"auc": 0.5}
    assert (after / "copied" / "file").read_bytes() == b"of the last epoch"
    restored = {name: tf.Variable(tf.zeros_like(v)) for name, v in variables.items()}
    assert checkpoint.restore_progress(after / "progress" / "1", restored, State) == State(3)
    for name, variable in variables.items():
        assert (restored[name].numpy() == variable.numpy()).all()


@pytest.fixture
def calls(monkeypatch):
    """What was synced and renamed, in order: ("sync", inode) and ("rename", inode)."""
    seen = []
    for name, inode in (
        ("fsync", lambda descriptor: os.fstat(descriptor).st_ino),
        ("replace", lambda source, _: Path(source).stat().st_ino),
        ("rename", lambda source, _: Path(source).stat().st_ino),
    ):
        real = getattr(os, name)

        def watched(*arguments, real=real, name=name, inode=inode):
            seen.append(("sync" if name == "fsync" else "rename", inode(*arguments)))
            return real(*arguments)

        monkeypatch.setattr(os, name, watched)
    return seen


def test_content_is_synced_before_its_name_and_the_name_after(calls, tmp_path):
    artifacts.write_atomically(tmp_path / "file", "content")
    file, folder = ((tmp_path / name).stat().st_ino for name in ("file", "."))
    assert calls == [("sync", file), ("rename", file), ("sync", folder)]


def test_all_of_a_folder_is_synced_before_its_name(calls, tmp_path):
    def fill(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_bytes(b"content")

    artifacts.write_folder_atomically(tmp_path / "whole", fill)
    names = ("whole/inner", "whole/inner/file", "whole")
    parts = {(tmp_path / name).stat().st_ino for name in names}
    renamed = calls.index(("rename", (tmp_path / "whole").stat().st_ino))
    assert {inode for kind, inode in calls[:renamed] if kind == "sync"} == parts
    assert calls[renamed + 1 :] == [("sync", tmp_path.stat().st_ino)]
