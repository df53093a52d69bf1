"""Real processes that need one folder: one after the other, and none waits for a dead one."""

import subprocess
import sys
import time

import pytest

from lt4rec_tf.core.artifacts import RunError
from lt4rec_tf.core.turns import in_turn
from tests.support.paths import PROJECT
from tests.support.turns import Aside, held_by_another

COUNT = """
import sys, time
from pathlib import Path
from lt4rec_tf.core import turns
turns._POLL_SECONDS = 0.01
for _ in range(5):
    with turns.in_turn(Path(sys.argv[1])):
        path = Path(sys.argv[1], "count")
        before = int(path.read_text()) if path.exists() else 0
        time.sleep(0.005)
        path.write_text(str(before + 1))
"""


def take(folder):
    with in_turn(folder):
        (folder / "taken").touch()


def test_a_process_waits_says_for_whom_and_goes_on_by_itself(tmp_path, capsys):
    with held_by_another(tmp_path) as holder:
        waiting = Aside(lambda: take(tmp_path))
        time.sleep(0.3)  # three attempts
        assert waiting.is_alive()
        assert not (tmp_path / "taken").exists()
        holder.stdin.close()
        waiting.ended()
    assert (tmp_path / "taken").exists()
    assert capsys.readouterr().err == (
        f"{tmp_path}: waiting until process {holder.pid} is done\n"
        if sys.platform == "linux"
        else f"{tmp_path}: waiting until another process is done\n"
    )


def test_a_lock_ends_with_its_process(tmp_path, capsys):
    with held_by_another(tmp_path) as holder:
        holder.kill()
        holder.wait()
        take(tmp_path)
    assert capsys.readouterr().err == ""


def test_no_two_processes_have_their_turn_at_once(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)], cwd=PROJECT)
        for _ in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "20"


def test_a_file_in_place_of_the_folder_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file: cannot be a run's folder"):
        take(tmp_path / "file")
