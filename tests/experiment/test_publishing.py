"""The requests by which a version is checked before it is published."""

import numpy as np
import pytest

from lt4rec_tf.config.parse import parse
from lt4rec_tf.data.input import features
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.experiment.publishing import checked_answers
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.serving.publish import PublishError, publish
from lt4rec_tf.serving.rank import ranking_of
from lt4rec_tf.serving.signatures import ServedModel
from tests.support.feeds import example, good_row, line, opened, schema, write_lines, write_records

pytestmark = pytest.mark.slow(minutes=1)

ROWS = 30


@pytest.fixture(params=["csv", "tfrecord"])
def feed(request, tmp_path):
    """Row k holds k % 8 tags, of which training reads three at most; ten rows are test."""
    kind = request.param
    rows = []
    for number in range(ROWS):
        tags = "|".join(f"t{(number * place) % 13}" for place in range(number % 8))
        rows.append(good_row(number, tags=tags, play_time="25"))
    if kind == "csv":
        write_lines(tmp_path / "a.csv", list(map(line, rows)))
    else:
        write_records(tmp_path / "a.tfrecord", list(map(example, rows)))
    made = schema(tmp_path, kind)
    return opened(made, tmp_path, SplitRule("time", 1, 2))[0]


def network_for(source):
    flags = ["--schema=s.toml", "--data_dir=logs", "--hidden_units=8,4", "--embedding_dim=3"]
    settings, _ = parse(["train", *flags, "--embedding_stddev=1"], "")
    return network_of(settings, source.schema, "hard_sharing")


def checked(source, folder):
    """Publishes a version, whose answers are checked; returns what was sent."""
    network = network_for(source)
    ranking = ranking_of(source.schema, (), "", 1.0, "")
    served = ServedModel(network, source.schema, ranking=ranking)
    signatures = served.signatures("serving_default", "rank")
    sample, expected = checked_answers(signatures, network, source.schema, source, ranking)
    publish(served, signatures, folder, sample, {name: expected[name] for name in signatures})
    return sample


def test_a_version_is_checked_with_rows_as_the_log_has_them(feed, tmp_path):
    sample = checked(feed, tmp_path / "models")
    tags = sample["serving_default"]["tags"]
    lengths = [number % 8 for number in range(20, ROWS)]
    assert tags.shape == (10, max(lengths))
    assert [np.count_nonzero(row != b"") for row in tags] == lengths
    assert sample["rank"]["tags"].shape == (4, 2, max(lengths))


@pytest.mark.parametrize("feed", ["csv"], indirect=True)
def test_a_version_that_reads_more_of_a_list_is_not_published(feed, tmp_path, monkeypatch):
    """The served graph leaves lists whole; the pipeline was made before."""
    source, network = feed, network_for(feed)
    ranking = ranking_of(source.schema, (), "", 1.0, "")
    whole = ServedModel(network, source.schema, ranking=ranking)
    with monkeypatch.context() as changed:
        changed.setattr(features, "_first_values", lambda feature, values: values)
        functions = whole.signatures("ctr", "rank")
    sample, expected = checked_answers(functions, network, source.schema, source, ranking)
    for signature in ("ctr", "rank"):
        with pytest.raises(PublishError, match=f"{signature}.*differs from the model by"):
            publish(
                whole,
                {signature: functions[signature]},
                tmp_path / "models",
                {signature: sample[signature]},
                {signature: expected[signature]},
            )
