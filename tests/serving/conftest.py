"""The schema of the networks that are served in these tests."""

import pytest


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    from lt4rec_tf.schema.reader import load_schema
    from tests.support.schemas import SMALL_SCHEMA
    from tests.support.served_networks import MORE_FEATURES

    path = tmp_path_factory.mktemp("schema") / "served.toml"
    path.write_text(SMALL_SCHEMA + MORE_FEATURES, encoding="utf-8")
    return load_schema(path)
