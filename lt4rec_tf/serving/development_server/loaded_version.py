"""One version of a model as TensorFlow Serving has it: loaded, warmed up, run."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import config_pb2, saved_model_pb2

from lt4rec_tf.serving.development_server.answers import class_text, decimal_text
from lt4rec_tf.serving.development_server.protocol import HTTP_STATUS, ServingError, invalid

VARIABLES = Path("variables", "variables.index")
WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")
MOST_WARM_UP_RECORDS = 1000
CODES = {getattr(tf.errors, name): name for name in HTTP_STATUS}


@contextlib.contextmanager
def graph_errors() -> Iterator[None]:
    """What TensorFlow refuses or fails at, as the error that a client reads."""
    try:
        yield
    except tf.errors.OpError as error:
        raise ServingError(CODES[error.error_code], error.message) from error
    except UnicodeDecodeError as error:
        # A message that quotes a request's bytes, which TensorFlow's Python side cannot hold; its
        # code is lost with it. The server answers these bytes.
        raise invalid(error.object.decode("utf-8", "surrogateescape")) from error


def _load_graph(session: tf.compat.v1.Session, folder: Path) -> Any:
    if (folder / "saved_model.pb").exists() and not (folder / VARIABLES).exists():
        # The server takes it for a model that has no variables; the loader below refuses it.
        written = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        tf.compat.v1.train.import_meta_graph(written.meta_graphs[0])
        return written.meta_graphs[0]
    return tf.compat.v1.saved_model.loader.load(session, ["serve"], str(folder))


class LoadedVersion:
    """A SavedModel by the session loader.

    Arrays go to the graph as they are: the server holds no input against its signature's shape,
    whereas `Session.run` does, so signatures run as callables of the C++ session.

    Args:
        folder: A version.
    """

    def __init__(self, folder: Path) -> None:
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph_errors(), graph.as_default():
                loaded = _load_graph(self._session, folder)
        except (OSError, RuntimeError, ValueError) as error:  # none that this TensorFlow reads
            raise ServingError("NOT_FOUND", str(error)) from error
        self.definitions = dict(loaded.signature_def)
        self._calls = {
            name: self._session._make_callable_from_options(
                config_pb2.CallableOptions(
                    feed=[info.name for info in definition.inputs.values()],
                    fetch=[info.name for info in definition.outputs.values()],
                )
            )
            for name, definition in self.definitions.items()
            if not name.startswith("__")
        }
        # Without the package of its messages requests cannot be read: the first ones are slower.
        if (folder / WARM_UP).exists() and importlib.util.find_spec("tensorflow_serving"):
            with graph_errors():
                replay(self, folder / WARM_UP)

    def dtypes(self, signature: str) -> dict[str, tf.DType]:
        """Of a signature's inputs, by name."""
        if signature not in self._calls:
            raise invalid(f'Serving signature name: "{signature}" not found in signature def')
        inputs = self.definitions[signature].inputs
        return {name: tf.as_dtype(info.dtype) for name, info in inputs.items()}

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name."""
        definition = self.definitions[signature]
        with graph_errors():
            answers = self._calls[signature](*[inputs[name] for name in definition.inputs])
        return {
            name: np.asarray(answer, tf.as_dtype(info.dtype).as_numpy_dtype)
            for (name, info), answer in zip(definition.outputs.items(), answers, strict=True)
        }

    def regress(self, signature: str, examples: Sequence[bytes]) -> list[str]:
        """One number an example, as JSON."""
        outputs = self._run_examples(signature, examples, {"outputs"}, 1)
        values = outputs.get("outputs")
        if values is None:
            raise ServingError("FAILED_PRECONDITION", "No regression outputs in SignatureDef")
        if values.ndim != 1 and values.shape[1:] != (1,):
            raise invalid(
                "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
                f"{list(values.shape)}"
            )
        _check_rows(values, examples, np.float32)
        return [decimal_text(value) for value in values.reshape(-1)]

    def classify(self, signature: str, examples: Sequence[bytes]) -> list[str]:
        """One list of labels and scores an example, as JSON."""
        outputs = self._run_examples(signature, examples, {"classes", "scores"}, 2)
        if not outputs:
            raise ServingError("FAILED_PRECONDITION", "Expected outputs classes or scores")
        for name, values in outputs.items():
            if values.ndim != 2:
                raise invalid(
                    f"Expected Tensor shape: [batch_size num_classes] but got {list(values.shape)}"
                )
            _check_rows(values, examples, np.float32 if name == "scores" else np.object_)
        classes, scores = outputs.get("classes"), outputs.get("scores")
        return [class_text(classes, scores, row) for row in range(len(examples))]

    def _run_examples(
        self, signature: str, examples: Sequence[bytes], wanted: set[str], most_outputs: int
    ) -> dict[str, np.ndarray]:
        if signature not in self._calls:
            raise invalid(f"No signature was found with the name: {signature}")
        definition = self.definitions[signature]
        if len(definition.inputs) != 1:
            raise invalid("Expected one input Tensor.")
        if len(definition.outputs) > most_outputs:
            raise invalid(f"Expected {'one' if most_outputs == 1 else 'one or two'} output Tensor.")
        if "inputs" not in definition.inputs:
            raise ServingError("FAILED_PRECONDITION", "No inputs found in SignatureDef")
        outputs = self.run(signature, {"inputs": np.array(list(examples), object)})
        return {name: values for name, values in outputs.items() if name in wanted}

    def metadata(self) -> dict[str, Any]:
        """The signatures as the metadata route shows them."""
        return {
            name: json_format.MessageToDict(
                definition,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for name, definition in self.definitions.items()
        }


def _check_rows(values: np.ndarray, examples: Sequence[bytes], dtype: type) -> None:
    if len(values) != len(examples):
        raise invalid(
            f"Input batch size did not match output batch size: {len(examples)} vs. {len(values)}"
        )
    if values.dtype != dtype:
        raise invalid(f"Expected output Tensor of {np.dtype(dtype)}. Got: {values.dtype}")


def replay(version: LoadedVersion, path: Path) -> None:
    """Runs the recorded requests of a warm-up file; the first that fails is raised."""
    from tensorflow_serving.apis import prediction_log_pb2  # type: ignore[import-untyped]

    for place, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
        if place == MOST_WARM_UP_RECORDS:
            raise invalid(f"Number of warmup records exceeds the maximum ({place})")
        log = prediction_log_pb2.PredictionLog.FromString(record)
        kind = log.WhichOneof("log_type")
        if kind == "predict_log":
            _replay_predict(version, log.predict_log.request)
        elif kind in ("regress_log", "classify_log"):
            request = getattr(log, kind).request
            _replay_examples(version, kind, request.model_spec, request.input)
        elif kind == "multi_inference_log":
            request = log.multi_inference_log.request
            for task in request.tasks:
                method = task.method_name.rsplit("/", 1)[-1]
                _replay_examples(version, f"{method}_log", task.model_spec, request.input)
        else:
            raise ServingError("UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}")


def _replay_predict(version: LoadedVersion, request: Any) -> None:
    signature = request.model_spec.signature_name or "serving_default"
    if signature not in version.definitions:
        raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{signature}" not found.')
    wanted = set(version.definitions[signature].inputs)
    if set(request.inputs) != wanted:
        raise invalid(
            "input size does not match signature: Sent extra: "
            f"{sorted(set(request.inputs) - wanted)}. Missing but required: "
            f"{sorted(wanted - set(request.inputs))}."
        )
    inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    version.run(signature, inputs)


def _replay_examples(version: LoadedVersion, kind: str, spec: Any, given: Any) -> None:
    context = b""
    examples = given.example_list.examples
    if given.WhichOneof("kind") == "example_list_with_context":
        context = given.example_list_with_context.context.SerializeToString()
        examples = given.example_list_with_context.examples
    if not examples:
        raise invalid("Input is empty.")
    run = {"regress_log": version.regress, "classify_log": version.classify}[kind]
    run(
        spec.signature_name or "serving_default",
        [context + example.SerializeToString() for example in examples],
    )
