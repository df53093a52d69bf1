"""The cells of the picture of fields and products of two."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex

from lt4rec_tf.reports.fields import fields_figure
from lt4rec_tf.reports.figures import ALL_COLOUR, NONE_COLOUR, TASK_COLOURS, to_rgba
from lt4rec_tf.reports.inputs import InputShares

CTR = {"user": 0.5, "video": 0.0, "user x user": 0.0, "user x video": 0.25, "video x video": 0.0}
CVR = {"user": 0.5, "video": 0.5, "user x user": 0.0, "user x video": 0.0, "video x video": 0.5}
LIKE = {"user": 0.5, "video": 0.5, "user x user": 0.5, "user x video": 0.0, "video x video": 0.0}
GRAM = ["vector", "user", "video"]


def drawn(shares, fields=("user", "video")):
    """The figure, and title -> axes of its panels."""
    figure = fields_figure(InputShares("s_joint", fields, shares))
    return figure, {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def cells(axes):
    """The panel's values; NaN where there is no group."""
    (picture,) = axes.images
    return np.ma.filled(picture.get_array().astype(float), np.nan)


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_panel_of_a_task_has_vectors_first_then_products_of_the_upper_triangle():
    figure, panels = drawn({"ctr": CTR, "cvr": CVR})
    assert [*panels] == ["1: ctr", "2: cvr", "read by"]
    np.testing.assert_array_equal(cells(panels["1: ctr"]), [[0.5, 0, 0.25], [0, np.nan, 0]])
    np.testing.assert_array_equal(cells(panels["2: cvr"]), [[0.5, 0, 0], [0.5, np.nan, 0.5]])
    assert labels(panels["1: ctr"].xaxis) == GRAM
    assert labels(panels["1: ctr"].yaxis) == ["user", "video"]
    assert figure.get_suptitle() == "s_joint: fields and products of two that the tasks read"


def test_what_is_cut_has_the_colour_of_none_and_tasks_one_scale():
    _, panels = drawn({"ctr": CTR, "cvr": CVR})
    scales = [panels[name].images[0] for name in ("1: ctr", "2: cvr")]
    assert [scale.get_clim()[1] for scale in scales] == [0.5, 0.5]
    assert to_hex(scales[0].to_rgba(0.0)).upper() == NONE_COLOUR
    assert to_hex(scales[0].to_rgba(0.01)).upper() != NONE_COLOUR


def test_last_panel_says_which_of_two_tasks_reads_a_group():
    figure, panels = drawn({"ctr": CTR, "cvr": CVR})
    # user: both, user x user: none, user x video: ctr; video: cvr, video x video: cvr.
    only_ctr, both, only_cvr, none = range(4)
    expected = [[both, none, only_ctr], [only_cvr, np.nan, only_cvr]]
    np.testing.assert_array_equal(cells(panels["read by"]), expected)
    palette = panels["read by"].images[0].get_cmap().colors
    assert list(palette) == [TASK_COLOURS[0], ALL_COLOUR, TASK_COLOURS[1], NONE_COLOUR]
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["only ctr", "both", "only cvr", "none"]


def test_last_panel_counts_three_tasks_and_numbers_the_only_reader():
    _, panels = drawn({"ctr": CTR, "cvr": CVR, "like": LIKE})
    (last,) = (axes for title, axes in panels.items() if title.startswith("number of tasks"))
    # The class of n readers is 3 - n.
    np.testing.assert_array_equal(cells(last), [[0, 2, 2], [1, np.nan, 2]])
    numbers = {text.get_position(): text.get_text() for text in last.texts}
    assert numbers == {(1, 0): "3", (2, 0): "1", (2, 1): "2"}  # column and row


def test_last_panel_shows_differences_where_all_tasks_read_everything():
    ctr = {"user": 0.4, "video": 0.2, "user x video": 0.3}
    cvr = {"user": 0.5, "video": 0.6, "user x video": 0.7}
    figure, panels = drawn({"ctr": ctr, "cvr": cvr})
    # Means are .3 and .6: user .1 - -.1, video -.1 - 0, their product 0 - .1.
    found = cells(panels["all tasks read nearly all inputs"])
    np.testing.assert_allclose(found, [[0.2, np.nan, -0.1], [-0.1, np.nan, np.nan]], atol=1e-12)
    assert not figure.legends
    assert panels["2: cvr"].images[0].get_clim() == (0.2, 0.7)  # the scale begins at the least
    first = panels["all tasks read nearly all inputs"].images[0]
    assert to_hex(first.to_rgba(0.2)).upper() == TASK_COLOURS[0]
    assert to_hex(first.to_rgba(-0.2)).upper() == TASK_COLOURS[1]


def test_an_input_in_a_hundred_that_a_task_lacks_leaves_the_differences():
    names = [f"f{index}" for index in range(100)]
    shares = {task: dict.fromkeys(names, 0.5) for task in ("ctr", "cvr", "like")}
    shares["cvr"]["f3"] = 0.0
    assert "all tasks read nearly all inputs" in drawn(shares, names)[1]
    shares["cvr"] |= dict.fromkeys(names[:6], 0.0)
    assert "all tasks read nearly all inputs" not in drawn(shares, names)[1]


def test_tickets_that_keep_nothing_are_drawn():
    nothing = {"user": 0.0, "video": 0.0}
    figure, panels = drawn({"ctr": nothing, "cvr": nothing})
    assert to_hex(panels["1: ctr"].images[0].to_rgba(0.0)).upper() == NONE_COLOUR
    to_rgba(figure)


def test_crossed_vectors_have_a_column_and_without_products_there_is_no_triangle():
    shares = {"user": 0.5, "video": 0.0, "user, crossed": 0.0, "video, crossed": 0.5}
    _, panels = drawn({"ctr": shares, "cvr": shares})
    np.testing.assert_array_equal(cells(panels["1: ctr"]), [[0.5, 0], [0, 0.5]])
    assert labels(panels["1: ctr"].xaxis) == ["vector", "crossed"]
    _, panels = drawn({"ctr": {"user": 0.5}, "cvr": {"user": 0.0}}, ["user"])
    np.testing.assert_array_equal(cells(panels["2: cvr"]), [[0.0]])


@pytest.mark.parametrize(("fields", "tasks"), [(1, 2), (31, 3), (14, 8)])
def test_labels_of_many_fields_and_tasks_do_not_touch(fields, tasks):
    names = [f"a_field_of_a_long_name_{index}" for index in range(fields)]
    shares = {f"task_{task}": dict.fromkeys(names, task / 9) for task in range(tasks)}
    for name in names[1:]:
        for of_task in shares.values():
            of_task[f"{names[0]} x {name}"] = 0.5
    figure, panels = drawn(shares, names)
    to_rgba(figure)  # lays out, without a warning
    panel = panels["1: task_0"]
    boxes = [label.get_window_extent() for label in panel.yaxis.get_ticklabels()]
    assert all(above.y0 >= below.y1 for above, below in pairwise(boxes))
    assert all(box.x0 >= 0 for box in boxes)
    titles = [axes.title.get_window_extent() for axes in panels.values()]
    assert not any(a.overlaps(b) for a in titles for b in titles if a is not b)


def test_figure_refuses_one_task():
    with pytest.raises(ValueError, match=r"found tasks \['ctr'\], expected at least two"):
        drawn({"ctr": CTR})
