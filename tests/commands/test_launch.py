"""The launch files: what they tell each task, and a run that they start."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from lt4rec_tf.data.simulator.world import FeedSettings
from lt4rec_tf.data.simulator.writer import simulate
from lt4rec_tf.distributed import cluster
from tests.support.cluster_processes import free_port
from tests.support.paths import PROJECT

FOLDER = PROJECT / "configs" / "cluster"
KUBERNETES = (FOLDER / "kubernetes.yaml").read_text()
LOCAL_SHELL = '#!/usr/bin/env bash\nshift\nexec bash -c "$*"\n'  # a host is this machine


def block(name):
    """A literal block of the ConfigMap, its indentation taken off."""
    found = re.search(rf"^  {name}: \|\n((?:    .*\n)+)", KUBERNETES, re.MULTILINE)
    return "".join(line[4:] + "\n" for line in found.group(1).splitlines())


def jobs():
    """{job: completions} of the manifests."""
    parts = KUBERNETES.split("\n---\n")
    found = {}
    for part in parts:
        if "kind: Job" in part:
            name = re.search(r"name: feed-(\w+)", part).group(1)
            numbers = re.findall(r"(?:completions|parallelism): (\d+)", part)
            assert len(set(numbers)) == 1
            found[name] = int(numbers[0])
    return found


def test_every_task_of_the_manifests_has_an_address():
    addresses = json.loads(block("cluster"))
    assert {job: len(listed) for job, listed in addresses.items()} == jobs()
    for job, listed in addresses.items():
        assert listed == [f"feed-{job}-{i}.feed:2222" for i in range(len(listed))]


def test_only_the_runs_own_pods_reach_its_servers():
    policy = next(part for part in KUBERNETES.split("\n---\n") if "kind: NetworkPolicy" in part)
    selector = "podSelector: {matchLabels: {run: feed}}"
    assert policy.count(selector) == 2  # whom it protects, and whom it lets in
    assert KUBERNETES.count("labels: {run: feed, job: ") == len(jobs())
    assert "policyTypes: [Ingress]" in policy
    assert "ports: [{port: 2222}]" in policy


@pytest.mark.parametrize(("job", "index"), [("chief", 0), ("ps", 1), ("worker", 3)])
def test_a_pod_knows_who_it_is(tmp_path, monkeypatch, job, index):
    (tmp_path / "cluster").write_text(block("cluster"))
    script = block("train.sh").replace("/cluster/", f"{tmp_path}/")
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@"\necho "$TF_CONFIG"\n')
    (tmp_path / "python").chmod(0o755)
    told = subprocess.run(
        ["bash", "-ec", script],
        env=os.environ
        | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB": job}
        | {"JOB_COMPLETION_INDEX": str(index)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    command, _, config = told.partition("\n")
    assert "-m lt4rec_tf.train" in command
    assert "--distribution=parameter_server" in command
    assert json.loads(config)["task"] == {"type": job, "index": index}
    monkeypatch.setenv("TF_CONFIG", config)
    cluster.check("parameter_server")
    assert cluster.is_server("parameter_server") == (job != "chief")


@pytest.mark.slow
def test_hosts_are_given_one_run_and_end_with_it(tmp_path):
    simulate(tmp_path / "feed", FeedSettings(rows=3_000))
    shell = tmp_path / "shell"
    shell.write_text(LOCAL_SHELL)
    shell.chmod(0o755)
    with free_port() as port:
        pass
    ended = subprocess.run(
        [
            str(FOLDER / "hosts.sh"),
            f"--schema={PROJECT}/configs/schemas/simulated_feed.toml",
            f"--data_dir={tmp_path}/feed",
            f"--run_dir={tmp_path}/run with a space",
            "--split=time",
            "--models=shared_bottom",
            "--hidden_units=8",
            "--epochs=1",
            "--embedding_dim=4",
        ],
        env=os.environ
        | {"KIND": "multi_worker", "WORKERS": "127.0.0.1 127.0.0.1", "PORT": str(port)}
        | {"PYTHON": sys.executable, "SHELL_COMMAND": str(shell), "DIRECTORY": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert (tmp_path / "run with a space" / "evaluation.json").exists()
    assert "[worker 0] | shared_bottom" in ended.stdout
