"""What lies in export/ for operators: configurations that parse, and agree with each other."""

import doctest
import importlib
import json
import re
import shlex
import subprocess

import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from tests.serving_stand_in.folders_served import serve_folders
from tests.serving_stand_in.served_sums import save_sums
from tests.support.paths import PROJECT

EXPORT = PROJECT / "export"
STEPS = sorted((EXPORT / "canary").glob("*.config"))
DASHBOARD = EXPORT / "grafana" / "dashboards" / "serving.json"
YAML = sorted(path for path in EXPORT.rglob("*") if path.suffix in (".yaml", ".yml"))
SCRIPTS = ("client", "load_test", "load_summary", "rest", "rows", "signature", "tf_example")
# Series that TensorFlow Serving and its runtime publish.
HISTOGRAMS = {
    ":tensorflow:serving:request_latency",
    ":tensorflow:serving:runtime_latency",
    ":tensorflow:serving:model_warmup_latency",
    ":tensorflow:serving:batching_session:input_batch_size",
    ":tensorflow:serving:batching_session:processed_batch_size",
    ":tensorflow:serving:batching_session:queuing_latency",
}
COUNTERS = {":tensorflow:serving:request_count", ":tensorflow:cc:saved_model:load_attempt_count"}


def text(name):
    return (EXPORT / name).read_text(encoding="utf-8")


def message_class(name, **fields):
    """A message of protos that no Python package ships.

    Fields are name -> (number, type name), repeated where the type name begins with "*".
    """
    file = descriptor_pb2.FileDescriptorProto(name="given.proto", package="given", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    prometheus = file.message_type.add(name="PrometheusConfig")
    field = descriptor_pb2.FieldDescriptorProto
    for message, wanted in (
        (prometheus, {"enable": (1, "bool"), "path": (2, "string")}),
        (file.message_type.add(name=name), fields),
    ):
        for key, (number, kind) in wanted.items():
            made = message.field.add(name=key, number=number, label=field.LABEL_OPTIONAL)
            if kind.startswith("*"):
                made.label = field.LABEL_REPEATED
            kinds = {
                "bool": field.TYPE_BOOL,
                "string": field.TYPE_STRING,
                "*int64": field.TYPE_INT64,
            }
            made.type = kinds.get(kind, field.TYPE_MESSAGE)
            if kind not in kinds:
                made.type_name = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"given.{name}"))


def model_config(path):
    protos = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2",
        reason="needs tensorflow-serving-api (extra `serving`)",
    )
    parsed = text_format.Parse(path.read_text(encoding="utf-8"), protos.ModelServerConfig())
    (config,) = parsed.model_config_list.config
    return config


@pytest.mark.parametrize("path", [EXPORT / "models.config", *STEPS], ids=lambda path: path.name)
def test_every_model_config_parses_and_serves_the_same_model(path):
    config = model_config(path)
    assert (config.name, config.base_path) == ("feed", "/models/feed")
    assert config.model_platform == "tensorflow"


def test_the_model_config_serves_the_newest_version():
    assert model_config(EXPORT / "models.config").model_version_policy.latest.num_versions == 1


def test_in_a_canary_release_versions_come_before_their_labels():
    configs = [model_config(path) for path in STEPS]
    versions = [set(config.model_version_policy.specific.versions) for config in configs]
    labels = [dict(config.version_labels) for config in configs]
    assert versions == [{1}, {1, 2}, {1, 2}, {1, 2}, {2}]
    assert [found["stable"] for found in labels] == [1, 1, 1, 2, 2]
    assert ["canary" in found for found in labels] == [False, False, True, True, False]
    for before, after in zip(versions, labels[1:], strict=False):
        assert set(after.values()) <= before


def test_the_batching_config_parses_and_lengthens_no_lists():
    int64 = ".google.protobuf.Int64Value"
    parameters = message_class(
        "BatchingParameters",
        max_batch_size=(1, int64),
        batch_timeout_micros=(2, int64),
        max_enqueued_batches=(3, int64),
        num_batch_threads=(4, int64),
        thread_pool_name=(5, ".google.protobuf.StringValue"),
        allowed_batch_sizes=(6, "*int64"),
        pad_variable_length_inputs=(7, "bool"),
    )
    parsed = text_format.Parse(text("batching.config"), parameters())
    # With it, one request of another rank than its neighbours' ends the server.
    assert not parsed.pad_variable_length_inputs
    assert parsed.max_batch_size.value >= 512
    sizes = list(parsed.allowed_batch_sizes)
    assert sizes == sorted(sizes)
    assert not sizes or sizes[-1] == parsed.max_batch_size.value
    for name in ("batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"):
        assert getattr(parsed, name).value > 0


def test_metrics_are_published_where_prometheus_looks():
    monitoring = message_class("MonitoringConfig", prometheus_config=(1, ".given.PrometheusConfig"))
    parsed = text_format.Parse(text("monitoring.config"), monitoring())
    assert parsed.prometheus_config.enable
    assert f"metrics_path: {parsed.prometheus_config.path} " in text("prometheus.yml")
    assert 'targets: ["serving:8501"]' in text("prometheus.yml")


def panels():
    return json.loads(text(DASHBOARD))["panels"]


def test_the_dashboard_shows_metrics_that_the_server_has():
    asked = {
        name
        for panel in panels()
        for target in panel["targets"]
        for name in re.findall(r"(?<![\w])(:tensorflow:[\w:]+)", target["expr"])
    }
    histograms = {re.sub("_(bucket|sum|count)$", "", name) for name in asked - COUNTERS}
    assert (histograms, asked & COUNTERS) == (HISTOGRAMS, COUNTERS)


def test_the_dashboards_queries_are_whole():
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"]
            for opening, closing in ("()", "[]", "{}"):
                assert query.count(opening) == query.count(closing), query
            assert "histogram_quantile" not in query or "sum by (le" in query
            assert target["datasource"] == {"type": "prometheus", "uid": "prometheus"}
    board = json.loads(text(DASHBOARD))
    assert [variable["name"] for variable in board["templating"]["list"]] == ["model"]
    titles = [panel["title"] for panel in board["panels"]]
    assert len({panel["id"] for panel in board["panels"]}) == len(set(titles)) == len(titles)


def test_the_dashboards_panels_do_not_overlap():
    taken = set()
    for panel in panels():
        place = panel["gridPos"]
        squares = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not squares & taken
        assert max(x for x, _ in squares) < 24
        taken |= squares


def test_grafana_finds_its_datasource_and_its_dashboards():
    datasource = text("grafana/provisioning/datasources/prometheus.yaml")
    assert "uid: prometheus\n" in datasource
    assert "url: http://prometheus:9090\n" in datasource
    provider = text("grafana/provisioning/dashboards/dashboards.yaml")
    (folder,) = re.findall(r"path: (\S+)", provider)
    assert f"./grafana/dashboards:{folder}:ro" in text("compose.yaml")
    assert f"HOME_DASHBOARD_PATH: {folder}/{DASHBOARD.name}" in text("compose.yaml")


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_is_indented_by_two_spaces_and_has_no_key_twice(path):
    keys: list[tuple[int, set[str]]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        assert "\t" not in line
        depth = len(line) - len(line.lstrip())
        assert depth % 2 == 0, line
        item = line.lstrip().startswith("- ")
        while keys and keys[-1][0] > depth:
            keys.pop()
        if item:
            keys = [level for level in keys if level[0] <= depth]
            depth += 2
        if not keys or keys[-1][0] < depth:
            keys.append((depth, set()))
        key = re.match(r"\s*(?:- )?([\w./-]+):(?: |$)", line)
        if key:
            assert item or key[1] not in keys[-1][1], f"{path.name}: {key[1]} twice"
            keys[-1][1].add(key[1])


def test_images_are_pinned_and_ports_are_this_machines():
    compose = text("compose.yaml")
    images = re.findall(r"image: (\S+)", compose)
    assert [image.split(":")[0] for image in images] == [
        "tensorflow/serving", "prom/prometheus", "prom/blackbox-exporter", "grafana/grafana"
    ]  # fmt: skip
    assert all(re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", image) for image in images)
    published = re.findall(r"- (\S*\d+:\d+)$", compose, re.MULTILINE)
    assert len(published) == 4
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert f"runtimeVersion: {images[0].split(':')[1]} " in text("kserve.yaml")


@pytest.mark.parametrize("name", ["compose.yaml", "compose.batching.yaml"])
def test_files_that_compose_names_are_there(name):
    compose = text(name)
    mounted = re.findall(r"- \./(\S+?):", compose)
    configs = re.findall(r"--\w+=/config/(\S+)", compose)
    assert configs
    assert all((EXPORT / path).exists() for path in [*mounted, *configs])


def test_batching_changes_no_other_flag():
    flags = [re.findall(r"- (--\S+)", text(f"compose{name}.yaml")) for name in ("", ".batching")]
    assert flags[1][: len(flags[0])] == flags[0]
    assert [flag.split("=")[0] for flag in flags[1][len(flags[0]) :]] == [
        "--enable_batching", "--batching_parameters_file"
    ]  # fmt: skip


def test_the_health_check_tells_a_served_model_from_a_server_without(tmp_path):
    (folded,) = re.findall(r"- >-\n((?: {10}.+\n)+)", text("compose.yaml"))
    command = " ".join(line.strip() for line in folded.splitlines())
    base = tmp_path / "feed"
    base.mkdir()
    with serve_folders({"feed": base}) as empty:
        assert health(command, empty) != 0
    save_sums(base)
    with serve_folders({"feed": base}) as url:
        assert health(command, url) == 0


def health(command, url):
    at = command.replace("8501", url.rpartition(":")[2])
    return subprocess.run(["bash", "-c", at], timeout=30, capture_output=True).returncode


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPORT))
    return {name: importlib.import_module(name) for name in SCRIPTS}


def test_the_examples_of_the_scripts_hold(scripts):
    results = [doctest.testmod(module) for module in scripts.values()]
    assert sum(result.attempted for result in results) >= 2
    assert not any(result.failed for result in results)


def shown_commands():
    for block in re.findall(r"^```.*?\n(.*?)^```", text("README.md"), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            yield shlex.split(line, comments=True)


@pytest.mark.parametrize("script", ["client", "load_test"])
def test_commands_of_the_readme_are_ones_that_the_scripts_have(scripts, script):
    shown = [words for words in shown_commands() if words[:2] == ["python", f"export/{script}.py"]]
    assert shown
    for words in shown:
        scripts[script].parse_flags(words[2:])


def test_files_and_links_of_the_readme_are_there():
    readme = text("README.md")
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert target.startswith("http") or (EXPORT / target).exists(), target
    for path in re.findall(r"\bexport/([\w./]+\.(?:config|yaml|py|json))", readme):
        assert (EXPORT / path).is_file(), path
    for path in EXPORT.iterdir():
        if path.suffix in (".config", ".yaml", ".yml"):
            assert path.name in readme, f"{path.name} is not in README.md"
