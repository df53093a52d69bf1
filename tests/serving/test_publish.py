"""Versions of a published model: numbers, checks, whole folders."""

import contextlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.serving.publish import (
    TOLERANCE,
    PublishError,
    _check_output,
    check_answers,
    next_version,
    opened,
    publish,
    published_versions,
)
from tests.support.paths import PROJECT
from tests.support.versions import session_answers


class Doubler(tf.Module):
    """The smallest model of two signatures, which differ in inputs and outputs."""

    def __init__(self):
        super().__init__()
        self.factor = tf.Variable(2.0)

    @tf.function(input_signature=[{"x": tf.TensorSpec((None,), tf.float32, "x")}])
    def double(self, raw):
        return {"y": self.factor * raw["x"]}

    @tf.function(input_signature=[{"words": tf.TensorSpec((None, None), tf.string, "words")}])
    def count(self, raw):
        return {"n": tf.cast(tf.reduce_sum(tf.strings.length(raw["words"]), 1), tf.float32)}

    def signatures(self):
        return {
            "serving_default": self.double.get_concrete_function(),
            "count": self.count.get_concrete_function(),
        }


SAMPLE = {
    "serving_default": {"x": np.array([1.0, 2.0, -3.0], np.float32)},
    "count": {"words": np.array([["a", "bc"], ["", "ж"]], object)},
}
RIGHT = {
    "serving_default": {"y": np.array([2.0, 4.0, -6.0], np.float32)},
    "count": {"n": np.array([3.0, 2.0], np.float32)},
}


def publish_doubler(base, expected=RIGHT, **options):
    model = Doubler()
    return publish(model, model.signatures(), base, SAMPLE, expected, **options)


def children(base):
    return sorted(path.name for path in base.iterdir() if path.name != "lock")


def versions(base):
    return [path.name for path in published_versions(base)]


def test_versions_count_up_from_1(tmp_path):
    base = tmp_path / "models" / "feed"
    assert published_versions(base) == []
    assert publish_doubler(base) == base / "1"
    assert publish_doubler(base) == base / "2"
    assert published_versions(base) == [base / "1", base / "2"]


@pytest.mark.parametrize("name", ["run [1]", "all*", "what?", "a\\b"])
def test_a_model_folders_name_is_no_pattern(tmp_path, name):
    base = tmp_path / name
    assert publish_doubler(base) == base / "1"
    with opened(base / "1") as saved:
        check_answers(saved, SAMPLE, RIGHT)


def test_only_folders_with_whole_numbers_are_versions(tmp_path):
    for name in (".tmp-0123", "v50", "5.tmp", "latest", "-8", "9", "10"):
        (tmp_path / name).mkdir()
    (tmp_path / "70").touch()
    assert published_versions(tmp_path) == [tmp_path / "9", tmp_path / "10"]
    assert publish_doubler(tmp_path) == tmp_path / "11"


WRONG = {
    "a wrong answer": [2.0, 4.0, -6.00001],
    "nan": [2.0, np.nan, -6.0],
    "infinity": [2.0, np.inf, -6.0],
}


@pytest.mark.parametrize("values", WRONG.values(), ids=WRONG)
def test_a_version_that_answers_otherwise_is_not_published(tmp_path, values):
    publish_doubler(tmp_path)
    wrong = RIGHT | {"serving_default": {"y": np.array(values, np.float32)}}
    with pytest.raises(PublishError, match="signature serving_default, output y: differs"):
        publish_doubler(tmp_path, wrong)
    assert children(tmp_path) == ["1"]


def test_a_version_with_other_outputs_is_not_published(tmp_path):
    wrong = RIGHT | {"serving_default": {"z": RIGHT["serving_default"]["y"]}}
    with pytest.raises(PublishError, match=r"outputs \['y'\], expected \['z'\]"):
        publish_doubler(tmp_path, wrong)
    assert children(tmp_path) == []


def test_answers_of_another_shape_are_not_published(tmp_path):
    wrong = RIGHT | {"count": {"n": np.array([[3.0, 2.0]], np.float32)}}
    with pytest.raises(PublishError, match=r"output n: found float32 \(2,\), expected .* \(1, 2\)"):
        publish_doubler(tmp_path, wrong)
    assert children(tmp_path) == []


def test_answers_that_a_server_cannot_write_are_not_published(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, "x")])
    def half(x):
        return {"y": tf.cast(x, tf.float16)}

    inputs = {"serving_default": SAMPLE["serving_default"]}
    expected = {"serving_default": {"y": inputs["serving_default"]["x"]}}
    signatures = {"serving_default": half.get_concrete_function()}
    with pytest.raises(PublishError, match="output y: found float16"):
        publish(tf.Module(), signatures, tmp_path, inputs, expected)


@pytest.mark.parametrize(
    ("answer", "off", "published"), [(0.5, 9e-7, True), (0.5, 3e-6, False), (500.0, 3e-5, True)]
)
def test_the_tolerance_is_absolute_up_to_1_and_relative_above(tmp_path, answer, off, published):
    publish_doubler(tmp_path)
    near = {"serving_default": {"y": np.array([answer + off])}}
    with opened(tmp_path / "1") as version:
        asked = {"serving_default": {"x": np.array([answer / 2], np.float32)}}
        if published:
            check_answers(version, asked, near)
        else:
            with pytest.raises(PublishError, match="differs"):
                check_answers(version, asked, near)
            check_answers(version, asked, near, tolerance=1e-5)


def test_every_signature_is_checked(tmp_path):
    model = Doubler()
    for name in RIGHT:
        inputs, expected = dict(SAMPLE), dict(RIGHT)
        del inputs[name], expected[name]
        for given in ((inputs, RIGHT), (SAMPLE, expected), (inputs, expected)):
            with pytest.raises(PublishError, match="expected both for each"):
                publish(model, model.signatures(), tmp_path, *given)
    assert children(tmp_path) == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"found inputs \[\], expected \['x'\]"),
        (SAMPLE["serving_default"] | SAMPLE["count"], r"found inputs \['words', 'x'\]"),
        ({"x": np.zeros((2, 1), np.float32)}, "refuses its inputs"),
        ({"x": np.array(["a"], object)}, "refuses its inputs"),
    ],
    ids=["absent", "too many", "rank", "dtype"],
)
def test_an_opened_version_refuses_other_inputs(tmp_path, inputs, message):
    publish_doubler(tmp_path)
    with opened(tmp_path / "1") as version:
        with pytest.raises(PublishError, match=f"signature serving_default: {message}"):
            version.answers("serving_default", inputs)
        answers = version.answers("serving_default", SAMPLE["serving_default"])
        np.testing.assert_array_equal(answers["y"], RIGHT["serving_default"]["y"])


def test_an_opened_version_has_the_signatures_that_clients_see(tmp_path):
    publish_doubler(tmp_path)
    with opened(tmp_path / "1") as version:
        assert set(version.signatures) == {"serving_default", "count"}
        with pytest.raises(
            PublishError, match=r"signature rank: found none, expected .*'count', 'serv"
        ):
            version.answers("rank", {})
    answers = session_answers(tmp_path / "1", "count", SAMPLE["count"])
    np.testing.assert_array_equal(answers["n"], RIGHT["count"]["n"])


def test_a_version_that_cannot_answer_is_not_published(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, "x")])
    def positive(x):
        with tf.control_dependencies([tf.debugging.assert_positive(x, "too low")]):
            return {"y": tf.identity(x)}

    asked = {"serving_default": SAMPLE["serving_default"]}
    expected = {"serving_default": {"y": asked["serving_default"]["x"]}}
    signatures = {"serving_default": positive.get_concrete_function()}
    with pytest.raises(PublishError, match=r"serving_default: refuses its inputs .*too low"):
        publish(tf.Module(), signatures, tmp_path, asked, expected)
    assert children(tmp_path) == []


def test_half_a_version_cannot_be_opened(tmp_path):
    version = publish_doubler(tmp_path)
    for part in ("variables/variables.index", "saved_model.pb"):
        (version / part).unlink()
        with (
            pytest.raises(PublishError, match=f"{version}: no server can load it"),
            opened(version),
        ):
            pass


def test_a_model_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(PublishError, match="taken: cannot publish here"):
        publish_doubler(tmp_path / "taken")
    assert children(tmp_path) == ["taken"]


def test_a_version_is_complete_when_it_appears(tmp_path):
    """A server that polls the folder never sees a half-written version."""
    first_sight = {}
    ended = threading.Event()

    def poll():
        while not ended.is_set():
            for version in published_versions(tmp_path):
                if version not in first_sight:
                    first_sight[version] = contents(version)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        version = publish_doubler(tmp_path)
    finally:
        ended.set()
        poller.join()
    assert first_sight.get(version, contents(version)) == contents(version)
    assert {"saved_model.pb", "variables/variables.index"} <= set(contents(version))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_extra_files_are_part_of_the_version_from_its_first_moment(tmp_path):
    seen = []

    def extra(version):
        seen.append((children(tmp_path), version.folder.name, sorted(version.signatures)))
        doubled = version.answers("serving_default", SAMPLE["serving_default"])["y"]
        return {"model_card.md": b"# card", "assets.extra/deep/first": doubled.tobytes()}

    version = publish_doubler(tmp_path, extra=extra)
    assert (version / "model_card.md").read_bytes() == b"# card"
    doubled = np.frombuffer((version / "assets.extra/deep/first").read_bytes(), np.float32)
    np.testing.assert_array_equal(doubled, RIGHT["serving_default"]["y"])
    ((before, name, signatures),) = seen
    assert before == [name]
    assert name.startswith(".tmp-")
    assert signatures == ["count", "serving_default"]


@pytest.mark.parametrize("name", ["../2", "/card", "saved_model.pb", "", "variables"])
def test_extra_files_stay_inside_the_version_and_replace_nothing(tmp_path, name):
    base = tmp_path / "feed"
    with pytest.raises(PublishError, match="expected a new path inside the version"):
        publish_doubler(base, extra=lambda _: {name: b""})
    assert children(base) == []
    assert children(tmp_path) == ["feed"]


def test_an_error_in_making_extra_files_publishes_nothing(tmp_path):
    def extra(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        publish_doubler(tmp_path, extra=extra)
    assert children(tmp_path) == []
    assert publish_doubler(tmp_path) == tmp_path / "1"


def test_the_oldest_versions_are_removed_once_the_new_one_is_there(tmp_path):
    for name in ("3", "9", "10", "latest", "v1"):
        (tmp_path / name / "variables").mkdir(parents=True)
    assert publish_doubler(tmp_path, keep_versions=2) == tmp_path / "11"
    assert children(tmp_path) == ["10", "11", "latest", "v1"]
    assert publish_doubler(tmp_path, keep_versions=0) == tmp_path / "12"
    assert versions(tmp_path) == ["10", "11", "12"]
    assert publish_doubler(tmp_path, keep_versions=3) == tmp_path / "13"
    assert versions(tmp_path) == ["11", "12", "13"]
    assert next_version(tmp_path) == 14


def test_nothing_is_removed_for_a_version_that_is_not_published(tmp_path):
    for name in ("3", "9", "10"):
        (tmp_path / name).mkdir()
    wrong = RIGHT | {"count": {"n": np.zeros(2, np.float32)}}
    with pytest.raises(PublishError, match="differs from the model"):
        publish_doubler(tmp_path, wrong, keep_versions=2)
    assert versions(tmp_path) == ["3", "9", "10"]


@pytest.mark.parametrize("number", [-1, 1])
def test_a_server_is_never_left_the_new_version_alone(tmp_path, number):
    message = f"keep_versions: found {number}, expected 0, which keeps all, or 2 or more: the ver"
    with pytest.raises(PublishError, match=message):
        publish_doubler(tmp_path / "feed", keep_versions=number)
    assert children(tmp_path) == []


def test_two_exporters_do_not_collide(tmp_path):
    theirs = tmp_path / ".tmp-theirs"
    with artifacts.locked(tmp_path):
        theirs.mkdir()
        with pytest.raises(PublishError, match="another process publishes here"):
            publish_doubler(tmp_path)
        assert theirs.exists()
    assert publish_doubler(tmp_path) == tmp_path / "1"
    assert not theirs.exists()


KILLED = """
import sys, time
from pathlib import Path
from tests.serving.test_publish import publish_doubler
def extra(_):
    print("saved", flush=True)
    time.sleep(99)
publish_doubler(Path(sys.argv[1]), extra=extra)
"""


@pytest.mark.parametrize("moment", ["while it is saved", "before it is renamed"])
def test_a_killed_export_leaves_nothing_that_a_server_would_load(tmp_path, moment):
    publish_doubler(tmp_path)
    command = [sys.executable, "-W", "error", "-c", KILLED, str(tmp_path)]
    exporter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    with exporter:
        if moment == "before it is renamed":
            assert exporter.stdout.readline() == "saved\n"
            with pytest.raises(PublishError, match="another process publishes here"):
                publish_doubler(tmp_path)
        while len(children(tmp_path)) < 2:
            assert exporter.poll() is None
            time.sleep(0.001)
        exporter.send_signal(signal.SIGKILL)
    published, leftover = sorted(children(tmp_path), reverse=True)
    assert (published, leftover[:5]) == ("1", ".tmp-")
    assert publish_doubler(tmp_path) == tmp_path / "2"
    assert children(tmp_path) == ["1", "2"]


@pytest.mark.parametrize(("off", "fine"), [(1e-5, True), (1e-4, False)])
def test_an_amount_near_0_may_differ_by_what_the_large_ones_may(off, fine):
    values = np.array([30.0, 0.0], np.float32)
    found = values + np.array([0, off], np.float32)
    with contextlib.nullcontext() if fine else pytest.raises(PublishError, match="differs"):
        _check_output("output amount", found, values, TOLERANCE)


def test_an_answer_that_is_no_number_is_refused():
    values = np.array([0.5, np.nan], np.float32)
    with pytest.raises(PublishError, match="differs from the model by nan"):
        _check_output("output y", values, values, TOLERANCE)
