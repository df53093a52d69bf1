"""Event files, read back with TensorBoard."""

import io
import signal
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from lt4rec_tf.reports.figures import to_rgba
from lt4rec_tf.reports.plots import ticket_search_figure
from lt4rec_tf.reports.tensorboard import (
    log_figure,
    log_hparams,
    log_masks,
    log_scalars,
    log_settings,
    open_writer,
)


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


def scalars(folder):
    """Tag -> [(step, value)]."""
    events = read(folder)
    return {
        tag: [
            (event.step, tensor_util.make_ndarray(event.tensor_proto).item())
            for event in events.Tensors(tag)
        ]
        for tag in events.Tags()["tensors"]
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    }


def test_scalars_are_in_the_file_when_the_function_returns(tmp_path):
    writer = open_writer(tmp_path / "s_weight")
    log_scalars(writer, 10, {"loss/ctr": 0.5, "loss/cvr": np.float32(0.25)})
    log_scalars(writer, 20, {"loss/ctr": float("nan")})
    found = scalars(tmp_path / "s_weight")  # the writer is still open
    assert found["loss/cvr"] == [(10, 0.25)]
    assert found["loss/ctr"][0] == (10, 0.5)
    assert found["loss/ctr"][1][0] == 20
    assert np.isnan(found["loss/ctr"][1][1])


def test_a_restarted_stage_adds_a_file_to_its_folder(tmp_path):
    for steps in ([10, 20], [20, 30]):
        writer = open_writer(tmp_path)
        for step in steps:
            log_scalars(writer, step, {"loss/ctr": step / 64})
        writer.close()
    assert len(list(tmp_path.iterdir())) == 2
    found = scalars(tmp_path)["loss/ctr"]
    assert sorted(set(found)) == [(10, 10 / 64), (20, 20 / 64), (30, 30 / 64)]


def test_a_killed_process_loses_nothing_it_logged(tmp_path):
    program = (
        "import os, signal\n"
        "from lt4rec_tf.reports.tensorboard import log_scalars, open_writer\n"
        f"log_scalars(open_writer({str(tmp_path)!r}), 7, {{'loss/ctr': 0.5}})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert scalars(tmp_path) == {"loss/ctr": [(7, 0.5)]}


def test_masks_become_density_and_dead_neurons_by_level(tmp_path):
    writer = open_writer(tmp_path)
    tower_0 = np.array([[1, 0, 0, 0], [1, 1, 0, 0]], dtype=bool)  # two neurons without input
    log_masks(writer, 0, {"tower_0": np.ones((2, 4), bool), "tower_1": np.ones((4, 2), bool)})
    log_masks(writer, 3, {"tower_0": tower_0, "tower_1": np.ones((4, 2), bool)})
    found = scalars(tmp_path)
    assert found["weights/density/all"] == [(0, 1.0), (3, 11 / 16)]
    assert found["weights/density/tower_0"] == [(0, 1.0), (3, 3 / 8)]
    assert found["weights/density/tower_1"] == [(0, 1.0), (3, 1.0)]
    assert found["weights/neurons_dead/tower_0"] == [(0, 0.0), (3, 2.0)]
    assert found["weights/neurons_dead/tower_1"] == [(0, 0.0), (3, 0.0)]
    assert found["weights/neurons_dead/all"] == [(0, 0.0), (3, 2.0)]


def test_figure_is_stored_pixel_by_pixel(tmp_path):
    search = {"metric": "auc", "direction": "max", "densities": [1.0], "values": [0.7], "chosen": 0}
    figure = ticket_search_figure({"ctr": search})
    writer = open_writer(tmp_path)
    log_figure(writer, "tickets/search", figure, step=4)
    (event,) = read(tmp_path).Tensors("tickets/search")
    width, height, png = event.tensor_proto.string_val
    expected = to_rgba(figure)
    assert event.step == 4
    assert (int(height), int(width)) == expected.shape[:2]
    pixels = (255 * image.imread(io.BytesIO(png))).round().astype(np.uint8)
    np.testing.assert_array_equal(pixels, expected)


def test_settings_become_a_markdown_table(tmp_path):
    writer = open_writer(tmp_path)
    log_settings(writer, {"seed": 1, "tickets": {"rewind": "init", "tolerance": None}})
    (event,) = read(tmp_path).Tensors("settings")
    table = event.tensor_proto.string_val[0].decode()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert cells[0] == ["setting", "value"]
    assert cells[2:] == [
        ["seed", "`1`"],
        ["tickets.rewind", '`"init"`'],
        ["tickets.tolerance", "`null`"],
    ]


@pytest.mark.parametrize("times", [1, 2])
def test_hparams_hold_settings_and_final_metrics(tmp_path, times):
    hparams = {
        "seed": 3,
        "joint": {"strict": True, "b": 1.5},
        "rewind": "init",
        "files": ["a", "b"],
    }
    for _ in range(times):  # a run that is resumed after its end logs them again
        log_hparams(tmp_path, hparams, {"s_weight/ctr/auc": 0.75}, trial="quickstart/seed_3")
    metadata = read(tmp_path).SummaryMetadata("_hparams_/session_start_info")
    data = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
    session = data.session_start_info
    assert session.group_name == "quickstart/seed_3"
    found = {
        name: getattr(value, value.WhichOneof("kind")) for name, value in session.hparams.items()
    }
    assert found == {
        "seed": 3.0,
        "joint.strict": True,
        "joint.b": 1.5,
        "rewind": "init",
        "files": "['a', 'b']",
    }
    assert set(scalars(tmp_path)["s_weight/ctr/auc"]) == {(0, 0.75)}
