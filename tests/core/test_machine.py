"""The memory of a machine or of its container."""

from lt4rec_tf.core import machine


def test_a_containers_limit_counts_where_it_is_lower(tmp_path, monkeypatch):
    limit, none = tmp_path / "memory.max", tmp_path / "unlimited"
    limit.write_text("1048576\n")
    none.write_text("max\n")
    monkeypatch.setattr(machine, "_CONTAINER_LIMITS", (none, tmp_path / "absent"))
    whole = machine.memory_bytes()
    assert whole > 2**27
    monkeypatch.setattr(machine, "_CONTAINER_LIMITS", (none, limit))
    assert machine.memory_bytes() == 2**20
