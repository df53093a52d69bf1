"""Where labels are defined: within the populations of the tasks that learn them."""

import pytest

from lt4rec_tf.schema.populations import circle
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import SchemaError
from tests.support.feeds import funnel_schema


def test_populations_nest(tmp_path):
    made = funnel_schema(tmp_path)
    within = {label.name: label.within for label in made.labels}
    assert within == {
        "click": (),
        "watch_ratio": ("click",),
        "conv": ("click",),
        "refund": ("conv",),
    }
    assert circle(made.labels) == []
    refund = made.with_tasks(["refund"])
    assert [label.name for label in refund.labels] == ["click", "conv", "refund"]
    assert [label.name for label in made.with_tasks(["conv"]).labels] == ["click", "conv"]
    assert [label.name for label in made.with_tasks(["ctr"]).labels] == ["click"]


def test_populations_in_a_circle_are_refused(tmp_path):
    made = funnel_schema(tmp_path)
    text = made.path.read_text()
    assert text.count('population = "click"') == 2
    made.path.write_text('population = "refund"'.join(text.rsplit('population = "click"', 1)))
    with pytest.raises(SchemaError, match="conv within refund within conv, expected populations"):
        load_schema(made.path)
