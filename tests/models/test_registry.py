"""Networks built from settings."""

import gc
import weakref

from lt4rec_tf.config.parse import parse
from lt4rec_tf.models import registry


def test_a_network_that_is_no_longer_used_leaves_its_memory_to_the_next(small_schema, monkeypatch):
    monkeypatch.setattr(registry, "_MANY_NUMBERS", 1)
    settings = parse(["train", "--schema=a", "--data_dir=b", "--hidden_units=4"], "")[0]
    gc.disable()
    try:
        network = registry.network_of(settings, small_schema, "hard_sharing")
        table = weakref.ref(network.variables["embedding/table"])
        del network
        assert table() is not None, "no circle of references held it"
        registry.network_of(settings, small_schema, "hard_sharing")
        assert table() is None
    finally:
        gc.enable()
