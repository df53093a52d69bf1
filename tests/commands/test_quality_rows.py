"""The rows that benchmarks/quality_rows.py hands to other packages."""

import json

import numpy as np

from benchmarks import quality_rows
from tests.support.feeds import schema

# Days 3 and 4 are validation and test: "c" is new in test, "" a missing video.
LOG = """number,user,video,tags,day,length,click,play_time
1,u1,a,x|y,1,60,1,30
2,u2,b,,1,,0,0
2,u2,,y,2,30,1,30
1,u1,a,x,3,10,1,5
1,u3,b,x,3,10,0,0
9,u3,c,z|x,4,20,0,0
"""


def test_arrays_hold_what_the_log_says(tmp_path, monkeypatch):
    (tmp_path / "log.csv").write_text(LOG)
    schema(tmp_path, glob="log.csv", zero_duration="unlabelled")
    monkeypatch.chdir(tmp_path)
    flags = ["--schema=small.toml", "--data_dir=.", "--split=time", "--name=small"]
    flags += ["--validation_from=3", "--test_from=4", "--output=rows.npz", "--max_bad_fraction=.5"]
    quality_rows.main(["quality_rows", *flags])

    with np.load("rows.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    found = json.loads(str(arrays["description"]))
    assert [(f["name"], f["rows"], f["list"]) for f in found["features"]] == [
        ("number", 100_002, False),
        ("video", 4, False),  # two values, unknown and missing
        ("tags", 4, True),
        ("length", 2, False),
    ]
    assert found["tasks"] == [
        {"name": "ctr", "kind": "binary"},
        {"name": "cvr", "kind": "continuous"},
    ]

    videos, tags = arrays["train/ids/video"], arrays["train/ids/tags"]
    assert sorted(videos) == [0, 2, 3]
    assert arrays["validation/ids/video"].tolist() == videos[:2].tolist()
    assert arrays["test/ids/video"] == 1
    assert tags.shape == (3, 3)
    assert tags.tolist() == [[tags[0, 0], tags[0, 1], 0], [0, 0, 0], [tags[0, 1], 0, 0]]
    assert arrays["test/ids/tags"].tolist() == [[1, tags[0, 0], 0]]

    np.testing.assert_array_equal(arrays["train/number/length"], np.float32([60, np.nan, 30]))
    scaled = np.log1p(np.float32([60, np.nan, 30]))
    np.testing.assert_allclose(arrays["train/scaled/length"], scaled, rtol=1e-6)
    assert arrays["train/label/ctr"].tolist() == [1, 0, 1]
    assert arrays["train/label/cvr"].tolist() == [0.5, 0, 1]
    assert arrays["train/weight/cvr"].tolist() == [1, 0, 1]
    assert arrays["train/user"][1] == arrays["train/user"][2] != arrays["train/user"][0]
