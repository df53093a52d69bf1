"""The lines, points and labels of plots."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image

from lt4rec_tf.reports.figures import ALL_COLOUR, NONE_COLOUR, TASK_COLOURS, save_png, to_rgba
from lt4rec_tf.reports.plots import overlap_figure, ticket_search_figure
from lt4rec_tf.tickets.masks import MaskError

CTR = {
    "tower_0": np.array([[1, 1, 0, 0], [1, 0, 0, 0]], dtype=bool),
    "tower_1": np.ones((4, 1), bool),
}
CVR = {
    "tower_0": np.array([[1, 0, 1, 1], [0, 1, 0, 0]], dtype=bool),
    "tower_1": np.ones((4, 1), bool),
}
FOLLOW = {"tower_0": np.ones((2, 4), bool), "tower_1": np.zeros((4, 1), bool)}


def search(values=(0.70, 0.72, 0.71), **changes):
    densities = [0.5**level for level in range(len(values))]
    fields = {"metric": "auc", "direction": "max", "densities": densities, "chosen": 1}
    return {**fields, "values": list(values), **changes}


def colour_of(patch):
    return "#" + "".join(f"{round(255 * part):02X}" for part in patch.get_facecolor()[:3])


def lines_by_label(axes):
    return {line.get_label(): line for line in axes.lines}


def bars(axes):
    """Row -> [(colour, start, share)] of its parts."""
    rows = {}
    for patch in axes.patches:
        row = round(patch.get_y() + patch.get_height() / 2)
        part = (colour_of(patch), patch.get_x(), patch.get_width())
        rows.setdefault(row, []).append(part)
    return rows


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_search_panel_shows_values_by_level_dense_line_and_choice():
    figure = ticket_search_figure(
        {"ctr": search(), "cvr": search((0.07, 0.06), metric="mse", direction="min")}
    )
    ctr, cvr = figure.axes
    assert ctr.get_title() == "CTR: AUC, higher is better"
    assert cvr.get_title() == "CVR: MSE, lower is better"
    curve, *_ = [line for line in ctr.lines if len(line.get_xdata()) == 3]
    np.testing.assert_array_equal(curve.get_xdata(), [0, 1, 2])
    np.testing.assert_array_equal(curve.get_ydata(), [0.70, 0.72, 0.71])
    lines = lines_by_label(ctr)
    assert set(lines["dense"].get_ydata()) == {0.70}
    ring = lines["chosen: level 1, density 0.500"]
    assert (ring.get_xdata().item(), ring.get_ydata().item()) == (1, 0.72)
    labels = [label.get_text() for label in ctr.get_xticklabels()]
    assert labels == ["1.000\nlevel 0", "0.500\nlevel 1", "0.250\nlevel 2"]


def test_search_without_a_dense_level_has_no_dense_line():
    (axes,) = ticket_search_figure({"ctr": search(densities=[0.5, 0.3, 0.2])}).axes
    assert "dense" not in lines_by_label(axes)


def test_search_of_many_levels_has_few_labels():
    (axes,) = ticket_search_figure({"ctr": search([0.7] * 21)}).axes
    assert 5 <= len(axes.get_xticklabels()) <= 8


def test_search_without_finite_values_says_so():
    figure = ticket_search_figure({"ctr": search([float("nan")] * 3)})
    assert "no finite value" in texts(figure)
    to_rgba(figure)  # draws without a warning


def test_search_figure_refuses_nothing_and_misfits():
    with pytest.raises(ValueError, match="found no task"):
        ticket_search_figure({})
    with pytest.raises(ValueError, match="found chosen level 7"):
        ticket_search_figure({"ctr": search(chosen=7)})


def test_overlap_bars_are_the_shares_of_each_kernel():
    left, _ = overlap_figure({"ctr": CTR, "cvr": CVR}).axes
    only_ctr, only_cvr = TASK_COLOURS[:2]
    # tower_0 by hand, of 8 weights: ctr alone 2, both 1, cvr alone 3, none 2.
    assert bars(left)[0] == [
        (only_ctr, 0, 2 / 8),
        (ALL_COLOUR, 2 / 8, 1 / 8),
        (only_cvr, 3 / 8, 3 / 8),
        (NONE_COLOUR, 6 / 8, 2 / 8),
    ]
    assert bars(left)[1] == [
        (only_ctr, 0, 0),
        (ALL_COLOUR, 0, 1),
        (only_cvr, 1, 0),
        (NONE_COLOUR, 1, 0),
    ]


def test_overlap_figure_names_ratio_densities_and_kernels():
    figure = overlap_figure({"ctr": CTR, "cvr": CVR})
    # AND: 1 + 4 weights, OR: 6 + 4.
    title = "Overlap of the tickets: 0.500   (density: ctr 0.583, cvr 0.667)"
    assert figure.get_suptitle() == title
    assert {"0.17", "1.00"} <= set(texts(figure))  # overlap per kernel: 1/6, 4/4
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["tower_0\n2 x 4", "tower_1\n4 x 1"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "only ctr",
        "both",
        "only cvr",
        "none",
    ]


def test_overlap_figure_shows_a_corner_of_the_masks():
    rng = np.random.default_rng(0)
    first, second = ({"tower_0": rng.random((200, 120)) < 0.5} for _ in range(2))
    _, right = overlap_figure({"ctr": first, "cvr": second}).axes
    (picture,) = right.images
    kept = {0: (True, False), 1: (True, True), 2: (False, True), 3: (False, False)}
    shown = picture.get_array()
    assert shown.shape == (96, 96)
    for code, (by_first, by_second) in kept.items():
        expected = (first["tower_0"] == by_first) & (second["tower_0"] == by_second)
        np.testing.assert_array_equal(shown == code, expected[:96, :96])
    colours = [TASK_COLOURS[0], ALL_COLOUR, TASK_COLOURS[1], NONE_COLOUR]
    assert list(picture.get_cmap().colors) == colours


def test_overlap_figure_of_three_tasks_counts_tasks_and_compares_pairs():
    figure = overlap_figure({"ctr": CTR, "cvr": CVR, "follow": FOLLOW})
    left, right = figure.axes
    # tower_0: all three keep 1 weight of 8, two 5, one 2, none 0.
    shares = [share for _, _, share in bars(left)[0]]
    assert shares == [1 / 8, 5 / 8, 2 / 8, 0]
    # Pairs: ctr/cvr 5 of 10, ctr/follow 3 of 12, cvr/follow 4 of 12.
    np.testing.assert_allclose(
        right.images[0].get_array(),
        [[1, 5 / 10, 3 / 12], [5 / 10, 1, 4 / 12], [3 / 12, 4 / 12, 1]],
    )


def test_overlap_figure_refuses_one_task_and_different_kernels():
    with pytest.raises(ValueError, match=r"found tasks \['ctr'\], expected at least two"):
        overlap_figure({"ctr": CTR})
    other = {"tower_0": np.ones((3, 4), bool), "tower_1": np.ones((4, 1), bool)}
    with pytest.raises(MaskError):
        overlap_figure({"ctr": CTR, "cvr": other})


def test_saved_png_holds_the_drawn_pixels_and_is_reproducible(tmp_path):
    figure = ticket_search_figure({"ctr": search()})
    save_png(figure, tmp_path / "pictures" / "search.png")
    save_png(ticket_search_figure({"ctr": search()}), tmp_path / "again.png")
    saved = (tmp_path / "pictures" / "search.png").read_bytes()
    assert saved == (tmp_path / "again.png").read_bytes()
    pixels = (255 * image.imread(tmp_path / "pictures" / "search.png")).round().astype(np.uint8)
    drawn = to_rgba(figure)
    assert drawn.dtype == np.uint8
    assert drawn.shape == (400, 520, 4)
    np.testing.assert_array_equal(pixels, drawn)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["search.png"]


def test_plots_never_import_pyplot():
    program = "import sys, lt4rec_tf.reports.plots; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
