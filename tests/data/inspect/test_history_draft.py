"""Lists of what users did before: inspect drafts that candidates attend to them."""

import csv
import json

import numpy as np
import pytest

from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.schema.reader import load_schema


def drafted(folder, rows, *flags):
    """The features that inspect drafts for rows of JSON, by name."""
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = ["inspect", f"--files={folder}/log.jsonl", f"--schema_out={folder}/feed.toml", *flags]
    assert inspect.main(argv) == 0
    return {feature.name: feature for feature in load_schema(folder / "feed.toml").features}


def log(past, of_video=str, rows=300):
    """Rows with lists, by name made of the videos that came before."""
    rng = np.random.default_rng(1)
    made, before = [], []
    for number in range(rows):
        video = int(rng.integers(60))
        lists = {name: [tell(v) for v in before] for name, tell in past.items()}
        seen = {"user_id": f"u{number % 9}", "video_id": of_video(video)}
        author = of_video(1000 + video % 7)
        made.append(seen | {"author_id": author, "is_click": number % 2} | lists)
        before = [video, *before][: number % 5]
    return made


def video_text(video):
    return f"v{video}"


def test_text_lists_find_the_item_whose_values_they_hold(tmp_path):
    past = {"recent": video_text, "seq_b": lambda v: video_text(1000 + v % 7)}
    past |= {"hist_seconds": lambda v: v / 7}
    features = drafted(tmp_path, log(past, video_text))
    first, author, seconds = (features[name] for name in past)
    assert (first.pooling, first.candidate, first.table) == ("attention", "video_id", "video_id")
    assert (author.aligned_with, author.candidate, author.table) == (
        "recent",
        "author_id",
        "author_id",
    )
    assert (seconds.aligned_with, seconds.candidate) == ("recent", None)
    assert {f.side for f in (first, author, seconds)} == {"user"}
    assert first.ids == features["video_id"].ids
    text = (tmp_path / "feed.toml").read_text()
    assert "weighed by video_id, the newest first" in text
    assert "tells of the same events as recent" in text


def test_lists_of_whole_numbers_need_a_name_in_common(tmp_path):
    past = {"clicked_videos": int, "hist_author_ids": lambda v: 1000 + v % 7, "history": int}
    features = drafted(tmp_path, log(past, int), "--id_columns=video_id,author_id")
    assert features["clicked_videos"].candidate == "video_id"
    assert features["hist_author_ids"].candidate == "author_id"
    assert features["hist_author_ids"].aligned_with == "clicked_videos"
    # As long as the others: it tells of the same events, of which item is not known.
    assert features["history"].aligned_with == "clicked_videos"
    assert features["history"].candidate is None


def test_whole_numbers_that_say_how_much_are_cut_at_quantiles(tmp_path):
    past = {"hist_video": int, "hist_age_s": lambda v: 37 * v, "hist_days": lambda v: v % 9}
    features = drafted(tmp_path, log(past, int), "--id_columns=video_id")
    assert features["hist_video"].ids.kind == "fitted"
    assert features["hist_age_s"].ids.kind == "boundaries"
    assert features["hist_days"].ids.kind == "integer"
    assert features["hist_age_s"].aligned_with == features["hist_days"].aligned_with == "hist_video"


def test_names_may_be_written_with_capitals(tmp_path):
    features = drafted(tmp_path, log({"watchedVideos": int}, int), "--id_columns=video_id")
    assert features["watchedVideos"].candidate == "video_id"


def test_lists_of_other_lengths_are_sequences_of_their_own(tmp_path):
    rows = log({"hist_video": video_text}, video_text)
    for row in rows:
        row["last_authors"] = [f"v{1000 + n}" for n in range(3)]
    features = drafted(tmp_path, rows)
    assert features["hist_video"].pooling == features["last_authors"].pooling == "attention"
    assert features["last_authors"].candidate == "author_id"
    assert features["last_authors"].aligned_with is None


@pytest.mark.parametrize("name", ["tags", "video_tags", "hist_tags"])
def test_other_lists_are_pooled_by_their_mean(tmp_path, name):
    rows = log({name: lambda v: f"t{v % 5}"}, video_text)
    features = drafted(tmp_path, rows)
    assert features[name].pooling == "mean"
    assert features[name].candidate is features[name].aligned_with is None


def test_a_list_of_what_was_clicked_before_is_no_label(tmp_path):
    rows = log({"watched": video_text}, video_text)
    with (tmp_path / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"watched": "|".join(row["watched"])} for row in rows)
    argv = ["inspect", f"--files={tmp_path}/log.csv", f"--schema_out={tmp_path}/feed.toml"]
    assert inspect.main(argv) == 0
    features = {feature.name: feature for feature in load_schema(tmp_path / "feed.toml").features}
    assert features["watched"].candidate == "video_id"
    assert features["watched"].separator == "|"
