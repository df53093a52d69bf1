"""Going back from a bad version, by the commands that export/README.md shows."""

import json
import re
import subprocess
import time

import pytest

from tests.serving_stand_in.folders_served import serve_folders
from tests.serving_stand_in.serving_server import post
from tests.support.paths import PROJECT
from tests.support.served_models import save_constant

README = (PROJECT / "export" / "README.md").read_text(encoding="utf-8")


def ways():
    """The two commands of the section that need no configuration."""
    section = README.partition("## When a version is bad\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return [block for block in blocks if "models/feed" in block]


def answer_to_1(url):
    status, text = post(url, "/v1/models/feed:predict", {"instances": [1.0]})
    return json.loads(text)["predictions"][0] if status == 200 else status


@pytest.mark.parametrize("command", ways(), ids=["published again", "taken away"])
def test_the_good_version_answers_again_and_none_is_refused(tmp_path, command):
    base = tmp_path / "models" / "feed"
    save_constant(base, 1, 1.0)
    save_constant(base, 2, 2.0)
    with serve_folders({"feed": base}, poll_seconds=0.05) as url:
        answers = [answer_to_1(url)]
        assert answers == [2.0]
        subprocess.run(["bash", "-ec", command], cwd=tmp_path, check=True, timeout=30)
        until = time.monotonic() + 20
        while answers[-1] != 1.0 and time.monotonic() < until:
            answers.append(answer_to_1(url))
            time.sleep(0.01)
    assert set(answers) == {1.0, 2.0}


def test_both_ways_are_shown():
    assert len(ways()) == 2
