"""The command that serves a model for development."""

import http.client
import json
import signal
import subprocess
import sys

import pytest

from lt4rec_tf import serve
from lt4rec_tf.core.errors import InputError
from tests.serving_stand_in.serving_server import post
from tests.support.paths import PROJECT
from tests.support.served_models import save_constant

# A shell makes a suite in its background ignore Ctrl-C, and so what it starts.
TAKING_INTERRUPTS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_it_says_where_it_serves_what_and_ends_at_an_interrupt(tmp_path):
    save_constant(tmp_path / "feed", 3, 0.25)
    command = [sys.executable, "-c", TAKING_INTERRUPTS, "-m", "lt4rec_tf.serve"]
    command += [f"--model={tmp_path}/feed", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
        said = [process.stdout.readline().strip() for _ in range(3)]
        assert said[:2] == [
            "for development, not for production; Ctrl-C ends it",
            "version 3: AVAILABLE",
        ]
        url, _, name = said[2].rpartition("/v1/models/")
        assert name == "feed"
        status, text = post(url, "/v1/models/feed:predict", {"instances": [1.0, 2.0]})
        assert (status, json.loads(text)) == (200, {"predictions": [0.25, 0.5]})
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "ended\n"
    assert process.returncode == 0


def test_what_cannot_be_served_is_refused(tmp_path):
    save_constant(tmp_path / "feed", 3, 0.25)
    for flags, message in (
        ([], "--model: found nothing, expected the folder"),
        ([f"--model={tmp_path}/absent"], "absent: no such folder"),
        (
            [f"--model={tmp_path}/feed/3"],
            f"expected the folder that holds versions: {tmp_path}/feed",
        ),
    ):
        with pytest.raises(InputError, match=message):
            serve.main(["serve", *flags])


def test_a_port_that_is_taken_is_named(tmp_path):
    save_constant(tmp_path / "feed", 3, 0.25)
    taken = http.client.socket.socket()
    with taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port={port}: Address already in use"):
            serve.main(["serve", f"--model={tmp_path}/feed", f"--port={port}"])
