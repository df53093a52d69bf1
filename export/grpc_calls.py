"""The same calls by gRPC; needs tensorflow-serving-api (the package's `serving` extra)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import rest
import tf_example
from rows import Request
from signature import Signature

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is loaded

import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
DTYPES = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}


@dataclass(frozen=True)
class Model:
    """A model on a server, as `rest.Model`.

    Args:
        target: "host:8500".
        name: Of the model.
        version: A version's number; "": the highest that is available.
        label: A version's label instead.
        timeout: Seconds that an answer may take.
    """

    target: str
    name: str
    version: str = ""
    label: str = ""
    timeout: float = 30.0

    def signatures(self) -> Mapping[str, Any]:
        """Returns the model's signature definitions; raises as `rest.Model.signatures`."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )
        answer = self._call("GetModelMetadata", request)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(definitions)
        return json_format.MessageToDict(definitions, preserving_proto_field_name=True)[
            "signature_def"
        ]

    def ask(self, signature: Signature, request: Request) -> dict[str, list]:
        """Returns the answers to a request; returns and raises as `rest.Model.ask`."""
        if signature.kind == "regress":
            return self._regress(signature, request)

        if signature.kind == "examples":
            serialized = [tf_example.serialize(example) for example in request.examples]
            inputs = {"examples": tf.make_tensor_proto(serialized, tf.string)}
        else:
            inputs = {
                feature.name: tf.make_tensor_proto(
                    (request.inputs or {})[feature.name], DTYPES[feature.dtype]
                )
                for feature in signature.features
            }

        message = predict_pb2.PredictRequest(model_spec=self._spec(signature.name), inputs=inputs)
        answer = self._call("Predict", message)
        return {name: tf.make_ndarray(answer.outputs[name]).tolist() for name in signature.outputs}

    def _regress(self, signature: Signature, request: Request) -> dict[str, list]:
        message = regression_pb2.RegressionRequest(model_spec=self._spec(signature.name))
        for example in request.examples:
            serialized = tf_example.serialize(example)
            message.input.example_list.examples.add().MergeFromString(serialized)
        regressions = self._call("Regress", message).result.regressions
        return {signature.outputs[0]: [regression.value for regression in regressions]}

    def _spec(self, signature: str = "") -> model_pb2.ModelSpec:
        spec = model_pb2.ModelSpec(name=self.name, signature_name=signature)
        if self.version:
            spec.version.value = int(self.version)
        elif self.label:
            spec.version_label = self.label
        return spec

    def _call(self, method: str, request: Any) -> Any:
        with grpc.insecure_channel(self.target, options=UNLIMITED) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            call: Callable[..., Any] = getattr(stub, method)
            try:
                return call(request, timeout=self.timeout)
            except grpc.RpcError as error:
                message = f"{self.target} {method}: {error.code().name}: {error.details()}"
                if error.code() in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ):
                    raise rest.NoAnswerError(message) from error
                raise rest.RefusedError(message) from error
