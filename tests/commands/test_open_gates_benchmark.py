"""What benchmarks/open_gates.py finds open, on a network whose gates are set by hand."""

import importlib

import numpy as np
import pytest

from tests.support.networks import batch_of_tasks, build_model, moved
from tests.support.paths import PROJECT


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    return importlib.import_module("open_gates")


@pytest.fixture
def network(small_schema):
    return moved(build_model("mssm", small_schema))


def test_cells_by_layer_and_by_whose_they_are(benchmark, network):
    for name, variable in network.variables.items():
        if name.endswith("/coding"):
            variable.assign(np.full(variable.shape, 0.1))
    coding = network.variables["cvr/cell/1/coding"]  # 8 units of ctr, of cvr, of the shared
    coding.assign(np.where(np.arange(24) % 8 < np.repeat([0, 2, 8], 8), 0.1, -1.0))
    lines = benchmark.cells_table(network).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [cell[:2] for cell in cells] == [
        ["ctr", "1"],
        ["ctr", "2"],
        ["cvr", "1"],
        ["cvr", "2"],
        ["shared", "1"],
    ]
    assert cells[2][2:] == ["0.000", "0.250", "1.000"]
    assert all(cell[2:] == ["1.000"] * 3 for place, cell in enumerate(cells) if place != 2)


def test_fields_are_open_where_their_vectors_lie_along_the_task_s(benchmark, network, small_schema):
    batches = [batch_of_tasks(small_schema, seed=seed) for seed in (1, 2)]
    directions = network.variables["ctr/cell/gates/directions"]
    values = directions.numpy()
    values[1] = 0.0
    directions.assign(values)
    share, mean = benchmark.open_fields(network, batches)["ctr"]
    fields = network.model.get_layer("shared.embedding")
    vectors = np.concatenate([fields(batch["features"]).numpy() for batch in batches])
    gates = np.maximum(np.tanh((vectors * values).sum(axis=2)), 0)
    np.testing.assert_allclose(share, (gates > 0).mean(axis=0), atol=1e-6)
    assert share[1] == mean[1] == 0
    expected = gates[:, 0][gates[:, 0] > 0].mean()
    assert mean[0] == pytest.approx(expected, rel=1e-4)
    table = benchmark.fields_table([f.name for f in small_schema.features], {"ctr": (share, mean)})
    assert len(table.splitlines()) == 3 + len(small_schema.features)
