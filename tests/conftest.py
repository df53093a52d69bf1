"""What several test files share: a small schema, a small network, real data where it is there."""

import os

import pytest
from hypothesis import settings

from lt4rec_tf.core.command import before_tensorflow
from tests.support.schemas import SMALL_SCHEMA

before_tensorflow()  # as commands do
# Test processes side by side share the cores: with all of them for each, threads wait for threads.
beside = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if beside > 1:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, (os.cpu_count() or 1) // beside)))
settings.register_profile("lt4rec", deadline=None, max_examples=50, database=None)
settings.load_profile("lt4rec")


# Files of minutes, the longest first: processes that share the suite then end at about one time.
LONGEST = (
    "test_cluster",
    "test_end_to_end",
    "test_compare",
    "test_hybrid_run",
    "test_data_sets",
    "test_daily",
    "test_parity",
    "test_serving",
    "test_convert",
    "test_simulate_online",
    "test_pool",
    "test_launch",
)


def pytest_collection_modifyitems(items):
    """Puts files of minutes last, in each the whole runs last: what fails fast is seen first."""

    def place(item):
        stem = item.path.stem
        slow = item.get_closest_marker("slow") is not None
        return (LONGEST.index(stem) + 1 if stem in LONGEST else 0), slow

    items.sort(key=place)


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
