"""The tables and sections of a comparison's report."""

import copy
import json
import math

import numpy as np
import pytest

from benchmarks.sweep import sweep_table
from lt4rec_tf.reports.comparison import comparison_table, search_table
from lt4rec_tf.reports.comparison_plots import MOST_MODELS, figure4, overlap_bars
from lt4rec_tf.reports.figures import TASK_COLOURS, save_png, to_rgba
from lt4rec_tf.reports.size_plots import size_figure, sizes
from tests.support.evaluations import CTR, CVR


def done(seed, auc=None, mse=None, density=(1.0, 1.0), overlap=None, seconds=60.0):
    metrics = {"ctr": {"auc": auc, "gauc": 0.6}} if auc is not None else {}
    metrics |= {"cvr": {"mse": mse}} if mse is not None else {}
    densities = dict(zip(("ctr", "cvr"), density, strict=True))
    return {
        "seed": seed,
        "status": "done",
        "metrics": metrics,
        "density": {task: densities[task] for task in metrics},
        "overlap": overlap,
        "seconds": seconds,
    }


def failed(seed, error="FloatingPointError: loss is NaN", log="logs/s_neuron.log"):
    return {"seed": seed, "status": "failed", "error": error, "log": log}


def difference(base, value, low, high, metric="mse"):
    return {
        "metric": metric,
        "base": base,
        "value": value,
        "difference": value - base,
        "low": low,
        "high": high,
    }


def cost(**alive):
    return {
        "trained_parameters": 12345678,
        "table_bytes": 4321,
        "alive_parameters": alive,
        "multiply_adds": 6240,
    }


BASE = {
    "row": "base_cvr",
    "group": "Single tasks",
    "note": "a network a task",
    "chosen": {"learning_rate": "0.001"},
    "runs": [done(1, mse=0.04), done(2, mse=0.06)],
    "cost": cost(cvr=5000),
    "differences": {},
    "against": {},
}
S_WEIGHT = {
    "row": "s_weight",
    "group": "Table 2 of LT4REC",
    "note": "sparse sharing",
    "chosen": {"learning_rate": 0.0005, "loss_weights": "cvr=3"},
    "runs": [
        done(1, 0.7, 0.03, (0.2, 0.5), 0.25, 1000.0),
        done(2, 0.8, 0.05, (0.2, 0.3), 0.35, 2000.0),
    ],
    "cost": cost(ctr=1200, cvr=3400),
    "differences": {
        "cvr": difference(0.05, 0.04, -0.015, -0.005),
        "ctr": difference(0.745, 0.75, -0.001, 0.011, "auc"),
    },
    "against": {},
}
S_NEURON = {
    "row": "s_neuron",
    "group": "Table 2 of LT4REC",
    "note": "",
    "chosen": {},
    "runs": [failed(1), failed(2)],
    "cost": None,
    "differences": {},
    "against": {},
}
SHARED = {
    "row": "shared_bottom",
    "group": "Controls",
    "note": "",
    "chosen": {"learning_rate": "0.001", "loss_weights": "1"},
    "runs": [done(1, 0.72, 0.05, overlap=1.0), failed(2, "no\nmemory", "logs/b.log")],
    "cost": cost(ctr=5000, cvr=5000),
    "differences": {},
    "against": {},
}


def search(values=(0.70, 0.72, 0.71), **changes):
    densities = [0.5**level for level in range(len(values))]
    fields = {"metric": "auc", "direction": "max", "densities": densities, "chosen": 1}
    return {**fields, "values": list(values), **changes}


def searched(model, seed, **by_task):
    return {"row": model, "seed": seed, "searches": by_task}


MSE = {"metric": "mse", "direction": "min"}
SEARCHES = [
    searched("s_weight", 1, ctr=search(), cvr=search((0.08, 0.06, 0.07), **MSE)),
    searched("s_weight", 2, ctr=search((0.72, 0.74, 0.75), chosen=2), cvr=search(**MSE)),
    searched("s_neuron", 1, ctr=search((0.71, 0.69, 0.60))),
]
FURTHER = "Further metrics, mean over the seeds"
RESULTS = {
    "name": "compare_smoke",
    "against": "s_weight",
    "tasks": [CTR, CVR],
    "split": "test",
    "rows": [BASE, S_WEIGHT, S_NEURON, SHARED],
    "searches": SEARCHES,
}


def tables(text):
    """Group -> model -> {column: cell}."""
    found, group, header = {}, None, None
    for line in text.splitlines():
        if line.startswith("### "):
            group, header = line.removeprefix("### "), None
        elif line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if header is None:
                header = cells
            elif not set(cells[0]) <= {":", "-"}:
                named = dict(zip(header, cells, strict=True))
                found.setdefault(group, {})[named["model"]] = named
    return found


def cells_of(model, **changes):
    results = {**RESULTS, "rows": [{**model, **changes}]}
    return tables(comparison_table(results))[model["group"]][model["row"]]


def test_every_number_of_a_model_stands_in_its_column():
    assert cells_of(S_WEIGHT) == {
        "model": "s_weight",
        "CVR MSE": "0.04000",
        "CVR to single task": "**-20.00 %** [-30.00, -10.00]",
        "CTR AUC": "0.75000",
        "CTR to single task": "+0.0050 [-0.0010, +0.0110]",
        "learning rate": "0.0005",
        "loss weights": "cvr=3",
        "seeds": "2",
        "trained": "12,345,678",
        "tables (bytes)": "4,321",
        "alive (cvr / ctr)": "3,400 / 1,200",
        "multiply-adds": "6,240",
        "seconds": "1,500.0",
    }


def test_models_stand_under_their_groups_in_order():
    found = tables(comparison_table(RESULTS))
    assert {group: list(models) for group, models in found.items()} == {
        "Single tasks": ["base_cvr"],
        "Table 2 of LT4REC": ["s_weight", "s_neuron"],
        "Controls": ["shared_bottom"],
        FURTHER: ["base_cvr", "s_weight", "s_neuron", "shared_bottom"],
    }


def test_what_models_are_not_judged_by_stands_apart():
    watch = {"name": "watch", "kind": "amount", "metric": "nrmse", "direction": "min"}
    runs = [
        {**run, "metrics": {**run["metrics"], "watch": {"nrmse": 0.9, "spearman": 0.25 + seed / 8}}}
        for seed, run in enumerate(S_WEIGHT["runs"])
    ]
    results = {
        **RESULTS,
        "tasks": [{**watch, "population": None}],
        "rows": [{**S_WEIGHT, "runs": runs, "differences": {}, "against": {}}],
    }
    assert tables(comparison_table(results))[FURTHER]["s_weight"] == {
        "model": "s_weight",
        "WATCH Spearman": "0.31250",
    }


def test_differences_by_further_metrics_have_a_table_with_intervals():
    further = {
        "ctr": {
            "ne": difference(0.8, 0.9, 0.04, 0.16, "ne"),
            "ece": difference(0.01, 0.012, 0.00001, 0.004, "ece"),
        },
        "cvr": {"ece": difference(0.02, 0.01, None, None, "ece") | {"seeds": 1}},
    }
    text = comparison_table({**RESULTS, "rows": [BASE, {**S_WEIGHT, "further": further}]})
    assert tables(text)["Further metrics, difference to single task"] == {
        "s_weight": {
            "model": "s_weight",
            "CVR ECE": "-0.0100",
            "CTR NE": "**+0.1000** [+0.0400, +0.1600]",
            "CTR ECE": "+0.0020 [+0.0000, +0.0040]",
        }
    }
    assert "difference to single task" not in comparison_table(RESULTS)


def test_differences_to_one_model_have_a_table_of_their_own():
    against = {"cvr": difference(0.04, 0.05, 0.002, 0.018)}
    models = [S_WEIGHT, {**SHARED, "against": against}]
    found = tables(comparison_table({**RESULTS, "rows": models}))["Differences to s_weight"]
    shared = {"model": "shared_bottom", "CVR MSE": "**+25.00 %** [+5.00, +45.00]", "CTR AUC": "-"}
    assert found == {"shared_bottom": shared}


def test_a_group_that_comes_again_is_not_repeated():
    models = [S_WEIGHT, SHARED, {**S_WEIGHT, "row": "later"}]
    text = comparison_table({**RESULTS, "rows": models})
    assert text.count("### Table 2 of LT4REC") == 1
    assert list(tables(text)["Table 2 of LT4REC"]) == ["s_weight", "later"]


def test_a_single_task_has_neither_the_other_task_nor_differences():
    found = cells_of(BASE)
    assert (found["CVR MSE"], found["CTR AUC"]) == ("0.05000", "-")
    assert (found["CVR to single task"], found["CTR to single task"]) == ("-", "-")
    assert found["alive (cvr / ctr)"] == "5,000 / -"


@pytest.mark.parametrize(
    ("low", "high", "bold"),
    [
        (-0.02, -1e-5, True),
        (1e-5, 0.02, True),
        (-0.01, 0.0, False),
        (0.0, 0.02, False),
        (1e-7, 0.02, False),  # .0002 %, printed as 0.00
        (-0.02, -1e-7, False),
    ],
)
def test_bold_is_what_excludes_zero_on_either_side_as_printed(low, high, bold):
    found = cells_of(S_WEIGHT, differences={"cvr": difference(0.05, 0.06, low, high)})
    assert found["CVR to single task"].startswith("**+20.00 %** [" if bold else "+20.00 % [")


def test_a_difference_that_is_printed_as_zero_is_not_bold():
    differences = {"ctr": difference(0.7, 0.70004, 0.0001, 0.001, "auc")}
    found = cells_of(S_WEIGHT, differences=differences)
    assert found["CTR to single task"] == "+0.0000 [+0.0001, +0.0010]"


def test_one_seed_has_no_interval_and_the_legend_says_why():
    alone = {"seeds": 1, **difference(0.05, 0.04, None, None)}
    model = {**S_WEIGHT, "differences": {"cvr": alone}}
    text = comparison_table({**RESULTS, "rows": [BASE, model]})
    found = tables(text)["Table 2 of LT4REC"]["s_weight"]
    assert found["CVR to single task"] == "-20.00 %"
    assert "95 %" not in text
    assert "bold" not in text
    assert "no interval from one seed: users drawn again would say" in text


def test_nothing_is_said_of_users_without_a_column_of_users():
    runs = copy.deepcopy(S_WEIGHT["runs"])
    for run in runs:
        del run["metrics"]["ctr"]["gauc"]
    models = [{**S_WEIGHT, "runs": runs}]
    text = comparison_table({**RESULTS, "rows": models, "resampled": "rows"})
    assert "bootstrap over rows and seeds" in text
    assert "user" not in text
    assert "GAUC" not in text
    assert "bootstrap over users and seeds" in comparison_table(RESULTS)


def test_means_are_over_finished_runs_and_the_table_says_how_many():
    found = tables(comparison_table(RESULTS))["Controls"]["shared_bottom"]
    assert (found["seeds"], found["CTR AUC"], found["seconds"]) == ("1 of 2", "0.72000", "60.0")


def test_a_model_without_a_finished_run_keeps_its_line():
    found = tables(comparison_table(RESULTS))["Table 2 of LT4REC"]["s_neuron"]
    assert found.pop("seeds") == "0 of 2"
    assert found.pop("model") == "s_neuron"
    assert found.pop("alive (cvr / ctr)") == "- / -"
    assert set(found.values()) == {"-"}


def test_failed_runs_are_listed_with_error_and_log_once_a_reason():
    text = comparison_table(RESULTS)
    lines = [line for line in text.splitlines() if "(log:" in line]
    assert lines == [
        "- `s_neuron`, seeds 1, 2: FloatingPointError: loss is NaN (log: `logs/s_neuron.log`)",
        "- `shared_bottom`, seed 2: no memory (log: `logs/b.log`)",
    ]
    assert "Failed runs" not in comparison_table({**RESULTS, "rows": [BASE, S_WEIGHT]})


def test_runs_that_learned_nothing_are_listed_once_a_reason():
    why = {"what": "all 9 predictions are 0", "causes": ["dead units", "large numbers"]}
    runs = [run | {"nothing_learned": {"cvr": why}} for run in S_WEIGHT["runs"]]
    text = comparison_table({**RESULTS, "rows": [BASE, {**S_WEIGHT, "runs": runs}]})
    expected = "cvr: on validation all 9 predictions are 0; dead units; large numbers"
    assert f"of a task\n\n- `s_weight`, seeds 1, 2: {expected}\n" in text
    assert "learned nothing" not in comparison_table(RESULTS)


def test_an_undefined_number_is_shown_as_such():
    undefined = {**S_WEIGHT, "runs": [done(1, math.nan, 0.03), done(2, 0.8, 0.05)]}
    differences = {"ctr": difference(0.7, math.nan, math.nan, math.nan)}
    found = cells_of(undefined, differences=differences)
    assert (found["CTR AUC"], found["CTR to single task"]) == ("nan", "nan")
    # Read back from JSON, which has null in place of NaN.
    undefined["runs"][0]["metrics"]["ctr"]["auc"] = None
    differences["ctr"] = dict.fromkeys(differences["ctr"])
    found = cells_of(undefined, differences=differences)
    assert (found["CTR AUC"], found["CTR to single task"]) == ("nan", "nan")


def test_the_legend_explains_every_column_and_model():
    text = comparison_table(RESULTS)
    legend = text.partition("### Columns")[2]
    for column in next(iter(tables(text)["Single tasks"].values())):
        name = column.partition(" (")[0].removeprefix("CVR ").removeprefix("CTR ")
        assert name == "model" or name in legend, column
    assert "- CVR MSE: lower is better; over impressions with click = 1, mean over" in text
    assert "- CTR AUC: higher is better; over all impressions, mean over the seeds" in text
    assert "for CVR in per cent of the single-task mean" in text
    assert "- `s_weight`: sparse sharing" in text


def test_the_table_does_not_depend_on_json():
    assert comparison_table(json.loads(json.dumps(RESULTS))) == comparison_table(RESULTS)


def test_a_search_is_a_line_a_level_over_seeds():
    lines = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in search_table(SEARCHES).splitlines()
    ]
    assert lines[0] == [
        "model", "task", "metric", "level", "density", "validation", "sd", "chosen",
    ]  # fmt: skip
    # By hand: level 2 of 0.71 and 0.75, sd 0.04 / sqrt(2).
    assert lines[4] == ["s_weight", "ctr", "AUC", "2", "0.250", "0.73000", "0.02828", "1 of 2"]
    assert lines[3][-1] == "1 of 2"
    assert [line[:2] for line in lines[2:]] == [
        *[["s_weight", "ctr"]] * 3,
        *[["s_weight", "cvr"]] * 3,
        *[["s_neuron", "ctr"]] * 3,
    ]
    assert lines[8][5:] == ["0.71000", "-", "0 of 1"]


def test_a_search_that_has_fewer_levels_counts_where_it_has_them():
    searches = [searched("a", 1, ctr=search()), searched("a", 2, ctr=search((0.8, 0.9)))]
    last = search_table(searches).splitlines()[-1]
    assert [cell.strip() for cell in last.strip("|").split(" | ")][3:] == [
        "2", "0.250", "0.71000", "-", "0 of 2",
    ]  # fmt: skip


def labelled(axes, label):
    return [line for line in axes.lines if line.get_label() == label]


def test_figure_4_shows_seeds_mean_dense_and_choices():
    figure = figure4(SEARCHES)
    ctr, cvr, neuron, empty = figure.axes
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["CTR, s_weight", "CVR, s_weight", "CTR, s_neuron", "CVR, s_neuron"]
    assert (ctr.get_title(loc="right"), cvr.get_title(loc="right")) == (
        "higher is better",
        "lower is better",
    )
    first, second = labelled(ctr, "seed")
    np.testing.assert_array_equal(first.get_xdata(), [1, 0.5, 0.25])
    np.testing.assert_array_equal(second.get_ydata(), [0.72, 0.74, 0.75])
    (mean,) = labelled(ctr, "mean")
    np.testing.assert_allclose(mean.get_ydata(), [0.71, 0.73, 0.73])
    (dense,) = labelled(ctr, "dense")
    np.testing.assert_allclose(dense.get_ydata(), 0.71)
    rings = [(r.get_xdata().item(), r.get_ydata().item()) for r in labelled(ctr, "chosen")]
    assert rings == [(0.5, 0.72), (0.25, 0.75)]
    # The band is one standard deviation, (n - 1), to either side: at level 2 of 0.71 and 0.75.
    (band,) = ctr.collections
    edges = band.get_paths()[0].vertices
    np.testing.assert_allclose(
        sorted(set(edges[np.isclose(edges[:, 0], 0.25)][:, 1].round(9))),
        [0.73 - 0.04 / math.sqrt(2), 0.73 + 0.04 / math.sqrt(2)],
    )
    # One seed has no band; below the first model its mean is repeated.
    assert not neuron.collections
    (reference,) = labelled(neuron, "first model")
    np.testing.assert_array_equal(reference.get_ydata(), mean.get_ydata())
    assert [text.get_text() for text in empty.texts] == ["no finite value"]


def test_figure_4_prunes_to_the_right_on_one_scale():
    figure = figure4(SEARCHES)
    left, right = figure.axes[0].get_xlim()
    assert left > 1 > 0.25 > right
    assert figure.axes[0].get_ylim() == figure.axes[2].get_ylim()
    assert [label.get_text() for label in figure.axes[2].get_xticklabels()] == [
        "1.000", "0.500", "0.250",
    ]  # fmt: skip


def test_figure_4_names_models_that_it_has_no_room_for():
    searches = [searched(f"model_{n}", 1, ctr=search()) for n in range(MOST_MODELS + 2)]
    figure = figure4(searches)
    assert len(figure.axes) == MOST_MODELS
    (legend,) = figure.legends
    assert (
        legend.get_title().get_text() == f"not shown: model_{MOST_MODELS}, model_{MOST_MODELS + 1}"
    )


def test_figure_4_draws_undefined_values_and_no_weights():
    searches = [
        searched("a", 1, ctr=search([0.7, None, 0.6], densities=[1.0, 0.5, 0.0])),
        searched("b", 1, ctr=search([math.nan] * 3)),
    ]
    to_rgba(figure4(searches))  # without a warning


def test_figure_4_refuses_nothing_and_misfits():
    with pytest.raises(ValueError, match="found no search"):
        figure4([])
    with pytest.raises(ValueError, match="found chosen level 7"):
        figure4([searched("s_weight", 1, ctr=search(chosen=7))])


def bars(axes):
    """(middle, length, colour) of every bar, from the top."""
    return [
        (
            round(patch.get_y() + patch.get_height() / 2, 6),
            round(patch.get_width(), 6),
            "#" + "".join(f"{round(255 * part):02X}" for part in patch.get_facecolor()[:3]),
        )
        for patch in axes.patches
    ]


def test_overlap_bars_are_means_with_a_dot_a_seed():
    figure = overlap_bars(RESULTS)
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["s_weight"]
    ((place, length, _),) = bars(left)
    assert (place, length) == (0.0, 0.3)
    np.testing.assert_array_equal(left.lines[0].get_xdata(), [0.25, 0.35])
    assert bars(right) == [(-0.19, 0.2, TASK_COLOURS[0]), (0.19, 0.4, TASK_COLOURS[1])]
    ctr, cvr = right.lines
    np.testing.assert_array_equal(ctr.get_xdata(), [0.2, 0.2])
    np.testing.assert_array_equal(cvr.get_xdata(), [0.5, 0.3])
    assert len(set(ctr.get_ydata())) == 2  # equal seeds do not hide each other


def test_models_that_cut_nothing_are_named_and_not_drawn():
    (legend,) = overlap_bars(RESULTS).legends
    assert legend.get_title().get_text() == "every weight kept by every task: shared_bottom"


def test_overlap_bars_without_tickets_say_so():
    figure = overlap_bars({**RESULTS, "rows": [BASE, S_NEURON]})
    assert "no finished run wears tickets" in [text.get_text() for text in figure.axes[0].texts]
    to_rgba(figure)


def test_pictures_are_written_and_reports_change_nothing(tmp_path):
    before = copy.deepcopy(RESULTS)
    for name, figure in (("figure4", figure4(SEARCHES)), ("overlap", overlap_bars(RESULTS))):
        path = tmp_path / f"{name}.png"
        save_png(figure, path)
        assert path.read_bytes().startswith(b"\x89PNG")
    comparison_table(RESULTS)
    search_table(SEARCHES)
    assert before == RESULTS


def test_a_sweep_shows_each_models_differences_point_by_point():
    more_models = [
        BASE,
        {**S_WEIGHT, "differences": {"cvr": difference(0.04, 0.05, -0.002, 0.018)}},
    ]
    found = {
        "rows=30": {"rows": [BASE, S_WEIGHT, S_NEURON]},
        "rows=60": {"rows": [*more_models, {**SHARED, "differences": S_WEIGHT["differences"]}]},
    }
    assert tables(f"### CVR\n{sweep_table(CVR, found)}") == {
        "CVR": {
            "s_weight": {
                "model": "s_weight",
                "rows=30": "**-20.00 %** [-30.00, -10.00]",
                "rows=60": "+25.00 % [-5.00, +45.00]",
            },
            "shared_bottom": {
                "model": "shared_bottom",
                "rows=30": "-",
                "rows=60": "**-20.00 %** [-30.00, -10.00]",
            },
        }
    }
    ctr = tables(f"### CTR\n{sweep_table(CTR, found)}")["CTR"]["s_weight"]
    assert (ctr["rows=30"], ctr["rows=60"]) == ("+0.0050 [-0.0010, +0.0110]", "-")


def with_tables(model, name, table_bytes, group="Tickets of rows"):
    cost = model["cost"] | {"table_bytes": table_bytes}
    return {**model, "row": name, "group": group, "cost": cost}


def test_metrics_are_drawn_against_the_size_of_tables():
    models = [with_tables(S_WEIGHT, "half", 2_000_000), with_tables(S_WEIGHT, "tenth", 400_000)]
    results = {**RESULTS, "rows": [BASE, SHARED, *models, S_NEURON], "against": "shared_bottom"}
    assert sizes(results) == {4321, 2_000_000, 400_000}
    ctr, cvr = size_figure(results).axes
    assert ctr.get_ylabel() == "CTR AUC (higher is better)"
    assert cvr.get_ylabel() == "CVR MSE (lower is better)"
    dashed, line = ctr.lines[0], ctr.containers[0].lines[0]
    assert set(dashed.get_ydata()) == {0.72}
    assert line.get_xdata().tolist() == [0.4, 2.0]
    assert line.get_ydata().tolist() == [0.75, 0.75]
    bar = ctr.containers[0].lines[2][0].get_segments()[0]
    np.testing.assert_allclose(bar[:, 1], [0.7, 0.8])  # of .7 and .8: deviation .0707, error .05
