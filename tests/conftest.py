"""Fixtures of several test files, and the order of the tests."""

import os

import pytest
from hypothesis import settings

from lt4rec_tf.core.command import before_tensorflow
from lt4rec_tf.core.processes import threads_per_process
from tests.support.schemas import SMALL_SCHEMA

before_tensorflow()  # as commands do
# Parallel test processes share the cores: with all of them for each, threads wait for threads.
processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if processes > 1:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads_per_process(processes)))
settings.register_profile("lt4rec", deadline=None, max_examples=50, database=None)
settings.load_profile("lt4rec")


def pytest_collection_modifyitems(items):
    """Puts files with slow tests last, those of most minutes first; in a file, slow tests last.

    What fails fast is seen first, and processes that share the files end at about the same time.
    """
    minutes_by_file = {}  # file -> {test or module with the mark: minutes}
    for item in items:
        minutes = minutes_by_file.setdefault(item.path, {})
        for bearer, mark in item.iter_markers_with_node("slow"):
            minutes[bearer.nodeid] = mark.kwargs.get("minutes", 0)

    def order(item):
        minutes = minutes_by_file[item.path]
        is_slow = item.get_closest_marker("slow") is not None
        return bool(minutes), -sum(minutes.values()), is_slow

    items.sort(key=order)


@pytest.fixture(scope="session")
def small_schema(tmp_path_factory):
    from lt4rec_tf.schema.reader import load_schema

    path = tmp_path_factory.mktemp("schema") / "small.toml"
    path.write_text(SMALL_SCHEMA, encoding="utf-8")
    return load_schema(path)


@pytest.fixture
def small_network(small_schema):
    from tests.support.networks import build_small

    return build_small(small_schema)
