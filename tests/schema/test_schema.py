"""Schemas as read, and the refusal of wrong ones."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lt4rec_tf.schema.buckets import needed_buckets, shared_values
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import IdRule, SchemaError
from tests.support.feeds import SCHEMA, schema
from tests.support.paths import PROJECT

SCHEMAS = sorted((PROJECT / "configs" / "schemas").glob("*.toml"))
TEXT = SCHEMA.format(format="csv", glob="*.csv", separator='separator = "|"', zero_duration="bad")


def write(folder: Path, text: str) -> Path:
    path = folder / "broken.toml"
    path.write_text(text)
    return path


# Sets whose logs hold only what was played: nobody chose, so no task is learned on clicks alone.
PLAYED_ONLY = {"byterec", "kuairec"}
# Sets that are published without a time stamp.
TIMELESS = {"ali_ccp", "ali_express", "tenrec", "criteo_x1", "avazu_x1"}
# Sets of a published protocol with one task: seconds watched, or clicks of nobody in particular.
SECONDS_ONLY, CLICKS_ONLY = {"kuairec_watch_time", "kuairand_watch_time"}, {"criteo_x1", "avazu_x1"}


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_every_schema_of_the_project_loads(path):
    loaded = load_schema(path)
    assert loaded.name == path.stem
    populations = {task.name: task.population for task in loaded.tasks}
    if loaded.name in PLAYED_ONLY:
        assert "ctr" not in populations
        assert "click" not in populations.values()
    elif loaded.name in SECONDS_ONLY:
        assert populations == {"watch_time": None}
    elif loaded.name in CLICKS_ONLY:
        assert populations == {"ctr": None}
    else:
        assert loaded.tasks[0].name == "ctr"
        assert "click" in list(populations.values())[1:]
    assert (loaded.user is None) == (loaded.name in CLICKS_ONLY)
    assert (loaded.time is None) == (loaded.name in TIMELESS)


def test_there_are_schemas_to_load():
    names = [path.stem for path in SCHEMAS]
    assert {"kuairand_feedback", "simulated_feed", "tencent_video"} <= set(names)


def test_field_counts_and_shared_tables_of_the_published_sample():
    loaded = load_schema(SCHEMAS[0].with_name("tencent_video.toml"))
    shares = {feature.column: feature.table for feature in loaded.features}
    assert len(shares) == 20
    assert [name for name in shares if loaded.features[0].table == shares[name]] == [
        "FEA_SVID",
        "FEA_VID",
    ]
    assert shares["FEA_SCP"] == shares["FEA_CP"]
    assert len({shares[f"FEA_{name}"] for name in ("SICAT1", "SICAT2", "ICAT1", "UCAT")}) == 1
    assert shares["FEA_UCAT"] == shares["FEA_ICAT2"]
    assert shares["FEA_STAG"] == shares["FEA_IKEYWORD"] == shares["FEA_IXFTAG"]
    assert sum(feature.multivalued for feature in loaded.features) == 5


def test_kuairand_features_hold_no_feedback():
    loaded = load_schema(SCHEMAS[0].with_name("kuairand_feedback.toml"))
    assert len(loaded.features) == 31
    feedback = {"is_click", "long_view", "play_time_ms", "comment_stay_time", "is_profile_enter"}
    feedback |= {"is_follow", "is_comment", "is_forward", "label", "timestamp", "time_ms"}
    assert not feedback & {feature.column for feature in loaded.features}


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        (IdRule("hash", buckets=7), 8),
        (IdRule("vocabulary", vocabulary=("a", "b", "c")), 5),
        (IdRule("integer", minimum=-1, maximum=3), 7),
        (IdRule("boundaries", boundaries=(1.0, 2.0)), 4),
        (IdRule("numeric"), 2),
    ],
)
def test_rows_of_a_table(rule, rows):
    assert rule.rows == rows


def test_buckets_by_the_share_of_values_that_may_share_one(tmp_path):
    path = tmp_path / "schema.toml"
    text = Path(schema(tmp_path).path).read_text()
    path.write_text(text.replace("buckets = 100", "values = 1000, shared = 0.1"))
    assert load_schema(path).feature("video").ids == IdRule("hash", buckets=9483)


@given(st.integers(2, 10**7), st.floats(1e-6, 0.999))
def test_needed_buckets_are_the_fewest(distinct, shared):
    buckets = needed_buckets(distinct, shared)
    assert shared_values(distinct, buckets) <= shared * (1 + 1e-6)
    if buckets > 1:
        assert shared_values(distinct, buckets - 1) > shared * (1 - 1e-6)


def test_what_a_feature_is_when_the_file_says_little(tmp_path):
    feature = schema(tmp_path).feature("video")
    assert (feature.column, feature.table, feature.missing) == ("video", "video", "")
    assert not feature.multivalued
    assert feature.max_values == 1


def test_loading_twice_gives_equal_schemas(tmp_path):
    assert schema(tmp_path) == schema(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "key", "expected"),
    [
        ('name = "small"', 'name = "small"\ncolour = 1', "colour", "one of format, name"),
        ('format = "csv"', 'format = "orc"', "format", "one of csv, tsv, tfrecord"),
        ('files = ["*.csv"]', "files = []", "files", "one or more globs"),
        ('files = ["*.csv"]', "", "files", "found nothing"),
        ("buckets = 100", "buckets = 0", "features[video].ids.buckets", ">= 1"),
        ("buckets = 100", 'buckets = "9"', "features[video].ids.buckets", "found '9'"),
        ("buckets = 100", "buckets = true", "features[video].ids.buckets", "found True"),
        ("buckets = 100", "buckets = 9, x = 1", "features[video].ids.x", "unknown key"),
        ("buckets = 100", "values = 9", "features[video].ids.shared", "found nothing"),
        ("buckets = 100", "values = 9, shared = 1", "features[video].ids.shared", "(0, 1)"),
        ("buckets = 100", "buckets = 9, values = 9, shared = 0.1", "ids.buckets", "unknown key"),
        ("max_values = 3", "", "features[tags].max_values", "found nothing"),
        ('separator = "|"', "", "features[tags].separator", "found nothing"),
        ('kind = "numeric"', 'kind = "hash"', "features[length].ids", "expected"),
        ('side = "context"', 'side = "left"', "features[number].side", "user, item, context"),
        ('name = "video"', 'name = "tags"', "features[tags]", "distinct names"),
        ('name = "video"', 'name = "a b"', "features[a b].name", "letters"),
        ('name = "ctr"', 'name = "score"', "tasks[score].name", "serving_default, rank, score"),
        ('label = "click"', 'label = "clik"', "tasks[ctr].label", "found 'clik'"),
        ('label = "click"', 'label = "watch_ratio"', "tasks[ctr].label", "binary (click)"),
        ('population = "click"', 'population = "watch_ratio"', "tasks[cvr].population", "binary"),
        ('loss = "mse"', 'loss = "focal"', "tasks[cvr].loss", "mse, soft_cross_entropy"),
        ('metric = "auc"', 'metric = "f1"', "tasks[ctr].metric", "one of auc"),
        ('metric = "auc"', 'metric = "auc"\ndirection = "min"', "tasks[ctr].direction", "max"),
        ('"bad"', '"drop"', "labels[watch_ratio].zero_duration", "exclude"),
        ('play_time_unit = "s"', "", "labels[watch_ratio].play_time_unit", "one of s, ms"),
        ('column = "day"', 'patterns = ["x"]', "time.patterns", "pairs"),
        ('column = "day"', 'patterns = [["(a)(b)", 1]], column = "day"', "time.patterns", "pairs"),
        ("minimum = 0, maximum = 99999", "minimum = 5, maximum = 4", "ids.maximum", ">= 5"),
        ('user = "user"', "user = 5", "user", "a text"),
        ("[[tasks]]", "[[task]]", "tasks", "one or more [[tasks]]"),
        ("name", "= name", "", "TOML"),
    ],
)
def test_a_wrong_schema_fails_with_file_key_and_expectation(tmp_path, old, new, key, expected):
    assert old in TEXT
    path = write(tmp_path, TEXT.replace(old, new))
    with pytest.raises(SchemaError) as error:
        load_schema(path)
    message = str(error.value)
    assert str(path) in message
    assert key in message
    assert expected in message


@pytest.mark.parametrize(
    ("keys", "key", "expected"),
    [
        ('duration = "ms"', "duration_unit", "one of s, ms"),
        ('duration_unit = "ms"', "duration_unit", "unknown key, expected one of name, kind"),
        (
            'duration = "ms"\nduration_unit = "ms"\nzero_duration = "bad"',
            "zero_duration",
            "unknown",
        ),
        ("duration = 5", "duration", "a text"),
    ],
)
def test_what_a_ratio_column_may_say_of_durations(tmp_path, keys, key, expected):
    start = TEXT.index('play_time = "play_time"')
    end = TEXT.index("[[tasks]]")
    path = write(tmp_path, f'{TEXT[:start]}column = "ratio"\n{keys}\n\n{TEXT[end:]}')
    with pytest.raises(SchemaError, match=rf"labels\[watch_ratio\]\.{key}") as error:
        load_schema(path)
    assert expected in str(error.value)


def test_the_published_samples_ratio_knows_its_duration():
    label = load_schema(SCHEMAS[0].with_name("tencent_video.toml")).label("watch_ratio")
    assert (label.column, label.play_time, label.duration) == ("cvrlabel", None, "FEA_DURATION")


def test_boundaries_must_increase(tmp_path):
    numeric = 'kind = "numeric", transform = "log1p"'
    for wrong in ("[2, 1]", "[1, 1]", "[]", '["a"]', "[nan, 1]"):
        path = write(tmp_path, TEXT.replace(numeric, f'kind = "boundaries", boundaries = {wrong}'))
        with pytest.raises(SchemaError, match="increasing"):
            load_schema(path)


def test_features_that_share_a_table_must_make_ids_alike(tmp_path):
    shared = TEXT.replace('name = "tags"', 'name = "tags"\ntable = "video"')
    with pytest.raises(SchemaError, match=r"hash with 51 rows, expected the rule of video"):
        load_schema(write(tmp_path, shared))
    loaded = load_schema(write(tmp_path, shared.replace("buckets = 50", "buckets = 100")))
    assert loaded.feature("tags").table == loaded.feature("video").table == "video"
    assert [table.name for table in loaded.tables] == ["number", "video", "length"]
    assert loaded.table("video").rows == 101


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(SchemaError, match=r"nowhere\.toml: cannot be read"):
        load_schema(tmp_path / "nowhere.toml")


def test_with_tasks_keeps_order_and_the_labels_in_use(tmp_path):
    loaded = schema(tmp_path)
    assert [task.name for task in loaded.with_tasks(["cvr", "ctr"]).tasks] == ["cvr", "ctr"]
    assert [label.name for label in loaded.with_tasks(["ctr"]).labels] == ["click"]
    assert [label.name for label in loaded.with_tasks(["cvr"]).labels] == ["click", "watch_ratio"]
    with pytest.raises(SchemaError, match="expected one of ctr, cvr"):
        loaded.with_tasks(["like"])
    with pytest.raises(SchemaError, match="distinct"):
        loaded.with_tasks(["ctr", "ctr"])


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.integers(0, len(TEXT)), length=st.integers(1, 40), junk=st.text(max_size=8))
def test_a_damaged_schema_loads_or_raises_a_schema_error(tmp_path, cut, length, junk):
    path = tmp_path / "damaged.toml"
    path.write_text(TEXT[:cut] + junk + TEXT[cut + length :], encoding="utf-8")
    try:
        assert load_schema(path).tasks
    except SchemaError as error:
        message = str(error)
        if str(path) not in message:
            raise
