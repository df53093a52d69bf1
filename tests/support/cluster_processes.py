"""Clusters of real processes on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

from tests.support.paths import PROJECT

SECONDS = 240  # in which whatever is waited for comes, on a busy machine too
JOBS = {
    "multi_worker": {"worker": 2},
    "parameter_server": {"chief": 1, "worker": 2, "ps": 2},
}


class Cluster:
    """The processes of one run.

    Args:
        kind: Of distribution.
        flags: Of the run.
        logs: Folder that gets what each task prints.
    """

    def __init__(self, kind, flags, logs):
        self.kind, self.flags, self.logs = kind, flags, logs
        with ExitStack() as held:  # all at once, so that no port comes twice
            self.addresses = {
                job: [f"127.0.0.1:{held.enter_context(free_port())}" for _ in range(count)]
                for job, count in JOBS[kind].items()
            }
        self.processes = {}

    def start(self, *tasks):
        """Starts tasks such as "worker:1"; none: all that do not run."""
        everyone = [f"{job}:{i}" for job, a in self.addresses.items() for i in range(len(a))]
        for task in tasks or [task for task in everyone if not self.runs(task)]:
            job, _, index = task.partition(":")
            told = {"cluster": self.addresses, "task": {"type": job, "index": int(index)}}
            with self.log(task).open("a") as log:
                self.processes[task] = subprocess.Popen(
                    [sys.executable, "-m", "lt4rec_tf.train", *self.flags],
                    env=os.environ | {"TF_CONFIG": json.dumps(told)},
                    stdout=log,
                    stderr=log,
                    cwd=PROJECT,
                )

    def runs(self, task):
        return task in self.processes and self.processes[task].poll() is None

    def kill(self, task):
        self.processes[task].send_signal(signal.SIGKILL)
        self.processes[task].wait()

    def ends(self, task):
        """The exit status of a task that is on its way to its end."""
        return self.processes[task].wait(timeout=SECONDS)

    def wait_until(self, reached, task):
        """Waits for a condition while a task runs."""
        until = time.monotonic() + SECONDS
        while not reached():
            assert self.runs(task), f"{task} has ended:\n{self.told(task)}"
            assert time.monotonic() < until, f"{task} does not get there:\n{self.told(task)}"
            time.sleep(0.05)

    def log(self, task):
        return self.logs / f"{task.replace(':', '_')}.log"

    def told(self, task):
        return self.log(task).read_text()

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


@contextmanager
def free_port():
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
