"""The notebooks of docs/, run from their first cell to their last on fewer rows."""

import io

import pytest
from matplotlib.image import imread

from tests.support import notebooks
from tests.support.paths import PROJECT
from tests.support.schemas import few_features

pytestmark = pytest.mark.slow(minutes=1)
NOTEBOOK = PROJECT / "docs" / "notebooks" / "feed.ipynb"
FEWER = {
    "rows = 40_000": "rows = 2_000",
    'models=["hard_sharing", "s_gates"]': 'models=["s_gates"], hidden_units=[16, 8], gate_epochs=1',
    "epochs=2": 'epochs=1, reading="memory"',
    "{ROOT}/configs/schemas/simulated_feed.toml": "{ROOT}/simulated_feed.toml",
}


def with_fewer_rows(notebook):
    cells = []
    for cell in notebook["cells"]:
        text = notebooks.source_of(cell)
        for whole, few in FEWER.items():
            text = text.replace(whole, few)
        cells.append({**cell, "source": [text]})
    return {**notebook, "cells": cells}


def kinds(notebook):
    """What each cell shows: "stream", or the kinds of its value."""
    return [
        [sorted(output["data"]) if "data" in output else output["output_type"] for output in kept]
        for kept in (cell["outputs"] for cell in notebook["cells"] if "outputs" in cell)
    ]


@pytest.fixture(scope="module")
def kept():
    return notebooks.read(NOTEBOOK)


def test_the_cells_run_and_show_what_the_notebook_keeps(kept, tmp_path):
    text = "".join(map(notebooks.source_of, kept["cells"]))
    assert all(text.count(whole) == 1 for whole in FEWER)
    few_features("simulated_feed", tmp_path)
    folder = tmp_path / "docs" / "notebooks"
    folder.mkdir(parents=True)
    few = with_fewer_rows(kept)
    made = notebooks.with_outputs(few, notebooks.run(few, folder))
    assert kinds(made) == kinds(kept)
    assert list((tmp_path / "runs").glob("notebook-*/seed_1/evaluation.json"))
    for notebook in (made, kept):
        assert notebook["cells"][-2]["outputs"][0]["text"] == ["True\n"]


def test_the_overlap_picture_is_kept(kept):
    (picture,) = notebooks.pictures_of(kept)
    assert imread(io.BytesIO(picture)).shape[0] > 200


def test_the_ranked_list_falls(kept):
    ranked = next(cell for cell in kept["cells"] if "ranked.head(10)" in notebooks.source_of(cell))
    lines = "".join(ranked["outputs"][0]["data"]["text/plain"]).splitlines()[1:-1]
    scores = [float(line.split()[-1]) for line in lines]
    assert len(scores) == 10
    assert scores == sorted(scores, reverse=True)
