"""What Prometheus watches in export/: its rules, the probe of the newest version, their wiring."""

import json
import re
from urllib.parse import urlsplit

import pytest

from lt4rec_tf.serving.development_server.server import answer
from lt4rec_tf.serving.development_server.versions import VersionedModel
from tests.support.paths import PROJECT
from tests.support.served_models import save_constant

EXPORT = PROJECT / "export"
# Series that the rules may ask for: the server's, the exporter's and Prometheus's own.
SERIES = {
    ":tensorflow:cc:saved_model:load_attempt_count",
    ":tensorflow:serving:request_count",
    ":tensorflow:serving:request_latency_bucket",
    "probe_success",
    "up",
}
WORDS = {"by", "histogram_quantile", "le", "model_name", "offset", "or", "rate", "sum"}
MODULES = ("some_version", "newest_version")


def text(name):
    return (EXPORT / name).read_text(encoding="utf-8")


def rules():
    """Alert -> its text."""
    parts = re.split(r"^ {6}- alert: (\w+)\n", text("alerts.yml"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def expression(rule):
    folded = re.search(r"^ +expr: (?:>-\n)?((?:.+\n)(?: {10}.+\n)*)", rule, re.MULTILINE)
    return " ".join(folded[1].split())


def target():
    urls = re.findall(r'targets: \["(http://\S+)"\]', text("prometheus.yml"))
    assert len(urls) == len(MODULES)
    (url,) = set(urls)
    return url


def is_good(body, module="newest_version"):
    """Tells what a module of the blackbox exporter tells of an answer."""
    parts = re.split(r"^  (\w+):\n", text("blackbox.yml"), flags=re.MULTILINE)[1:]
    modules = dict(zip(parts[::2], parts[1::2], strict=True))
    assert tuple(modules) == MODULES
    patterns = re.findall(r"^ +- '(.+)'$", modules[module], re.MULTILINE)
    assert len(patterns) == 1 + MODULES.index(module)
    return all(re.search(pattern, body) for pattern in patterns)


def status(*versions):
    """A status answer; versions are (number, state, code), newest first."""
    entries = [
        {
            "version": str(number),
            "state": state,
            "status": {"error_code": code, "error_message": ""},
        }
        for number, state, code in versions
    ]
    return {"model_version_status": entries}


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize(
    ("versions", "good"),
    [
        ([(1, "AVAILABLE", "OK")], True),
        ([(12, "AVAILABLE", "OK"), (11, "END", "NOT_FOUND")], True),
        ([(2, "END", "OK"), (1, "AVAILABLE", "OK")], True),
        ([(2, "UNLOADING", "OK"), (1, "AVAILABLE", "OK")], True),
        ([(2, "START", "OK"), (1, "AVAILABLE", "OK")], False),
        ([(2, "LOADING", "OK"), (1, "AVAILABLE", "OK")], False),
        ([(2, "END", "NOT_FOUND"), (1, "AVAILABLE", "OK")], False),
        ([(2, "END", "OUT_OF_RANGE"), (1, "AVAILABLE", "OK")], False),
        ([(2, "END", "OK"), (1, "LOADING", "OK")], False),
        ([(2, "END", "OK"), (1, "END", "OK")], False),
    ],
)
def test_the_probe_tells_a_newest_version_that_is_not_served(versions, good, indent):
    assert is_good(json.dumps(status(*versions), indent=indent)) == good


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize(
    ("versions", "good"),
    [
        ([(1, "AVAILABLE", "OK")], True),
        ([(2, "LOADING", "OK"), (1, "AVAILABLE", "OK")], True),
        ([(2, "END", "NOT_FOUND"), (1, "AVAILABLE", "OK")], True),
        ([(2, "END", "OK"), (1, "LOADING", "OK")], False),
        ([(2, "START", "OK"), (1, "UNLOADING", "OK")], False),
    ],
)
def test_the_other_probe_tells_a_model_of_which_no_version_is_served(versions, good, indent):
    assert is_good(json.dumps(status(*versions), indent=indent), "some_version") == good


def test_the_probe_reads_what_a_server_says_of_its_versions(tmp_path):
    path = urlsplit(target()).path
    model = VersionedModel("feed", tmp_path, {}, 1)

    def probed():
        model.poll()
        return is_good(answer({"feed": model}, "GET", path, b"").decode())

    save_constant(tmp_path, 1, 1.0)
    assert probed()
    (tmp_path / "2").mkdir()
    assert not probed()
    save_constant(tmp_path, 3, 3.0)
    assert probed()


def test_rules_ask_for_series_that_are_there():
    assert set(rules()) == {
        "NoVersionServed", "NewestVersionNotServed", "LoadFailed", "RequestsFail", "RequestsSlow"
    }  # fmt: skip
    asked = set()
    for rule in rules().values():
        query = expression(rule)
        for opening, closing in ("()", "[]", "{}"):
            assert query.count(opening) == query.count(closing), query
        without_labels = re.sub(r"\{[^}]*\}", "", query)
        asked |= set(re.findall(r"[a-z_:]{2,}", without_labels)) - WORDS
        for job in re.findall(r'job="(\w+)"', query):
            assert f"job_name: {job}\n" in text("prometheus.yml")
        assert "summary: " in rule
    assert asked == SERIES


def test_every_rule_says_how_bad_it_is_and_is_in_the_readme():
    for name, rule in rules().items():
        assert re.search(r"^ +severity: (critical|warning)$", rule, re.MULTILINE), name
        assert f"| `{name}` | " in text("README.md")


def test_a_version_that_stays_in_loading_is_told_before_a_server_would_give_up():
    (minutes,) = re.findall(r"^ +for: (\d+)m$", rules()["NewestVersionNotServed"], re.MULTILINE)
    assert 1 <= int(minutes) < 5  # five retries, a minute apart


def test_rules_and_probe_are_wired():
    prometheus, compose = text("prometheus.yml"), text("compose.yaml")
    assert "rule_files:\n  - alerts.yml\n" in prometheus
    assert "- ./alerts.yml:/etc/prometheus/alerts.yml:ro\n" in compose
    assert "- ./prometheus.yml:/etc/prometheus/prometheus.yml:ro\n" in compose

    assert re.findall(r"module: \[(\w+)\]", prometheus) == list(MODULES)
    (exporter,) = set(re.findall(r"replacement: (\w+):9115\n", prometheus))
    service = compose.partition(f"\n  {exporter}:\n")[2]
    assert service.lstrip().startswith("image: prom/blackbox-exporter:")
    assert "- ./blackbox.yml:/etc/blackbox_exporter/config.yml:ro\n" in service

    assert urlsplit(target()).netloc in prometheus.replace(target(), "")
    assert f'name: "{target().rpartition("/")[2]}"' in text("models.config")


@pytest.mark.parametrize("name", ["compose.yaml", "compose.batching.yaml", "kserve.yaml"])
def test_a_version_that_cannot_be_loaded_is_tried_once(name):
    assert re.findall(r"^ +- --max_num_load_retries=(\d+)$", text(name), re.MULTILINE) == ["0"]
