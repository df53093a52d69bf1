"""What TensorFlow says at every start, held back by the file descriptor; all else is kept."""

import os
import subprocess
import sys

import pytest

from lt4rec_tf.core import start_lines
from lt4rec_tf.core.start_lines import without_start_lines

SAID = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 port.cc:153] oneDNN custom operations are on. You may see slightly different\n"
    b"E0000 real.cc:1] a real error\n"
    b"E0000 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error\n"
)
REAL = "E0000 real.cc:1] a real error\n"


def test_known_lines_are_dropped_and_others_kept_in_their_place(capfd):
    os.write(2, b"before\n")
    with without_start_lines():
        os.write(2, SAID)
        assert capfd.readouterr().err == "before\n"
    os.write(2, b"after\n")
    assert capfd.readouterr().err == f"{REAL}after\n"


def test_where_there_is_a_gpu_its_errors_are_kept(capfd, monkeypatch, tmp_path):
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(start_lines, "_NVIDIA_DEVICES", tmp_path)
    with without_start_lines():
        os.write(2, SAID)
    assert "failed call to cuInit" in capfd.readouterr().err


def test_an_error_in_the_block_loses_nothing(capfd):
    def broken():
        with without_start_lines():
            os.write(2, SAID)
            raise ImportError("no TensorFlow")

    with pytest.raises(ImportError, match="no TensorFlow"):
        broken()
    assert capfd.readouterr().err == REAL


def test_whoever_asks_for_all_lines_sees_them(capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with without_start_lines():
        os.write(2, SAID)
    assert capfd.readouterr().err == SAID.decode()


CRASH = """
import os
from lt4rec_tf.core.start_lines import without_start_lines
with without_start_lines():
    os.abort()
"""
CLOSED = """
import os
from lt4rec_tf.core.start_lines import without_start_lines
os.close(2)
with without_start_lines():
    print("computed")
"""


def test_of_a_crash_the_terminal_is_told():
    ended = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, check=False)
    assert b"Fatal Python error: Aborted" in ended.stderr


def test_a_process_may_have_no_standard_error():
    ended = subprocess.run([sys.executable, "-c", CLOSED], capture_output=True, check=True)
    assert ended.stdout == b"computed\n"
