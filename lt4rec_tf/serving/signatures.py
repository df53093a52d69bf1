"""Signatures of a served model: raw features in, one prediction per task out.

serving_default: p<task> of every task, the products of chained ones (pctcvr = pctr * pcvr), and
quantiles that were asked for (pcvr_q90).
<task>: p<task>. <product>: p<product>, such as ctcvr. <quantile>: p<quantile>, such as cvr_q90.
rank: of a request's candidates, score and p<task> of every task. score: as rank, score alone.
tf_example: as serving_default, of serialized tf.Examples.
regress_<task>: p<task> of serialized tf.Examples, for TensorFlow Serving's Regress.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from lt4rec_tf.data.formats.values import DTYPES
from lt4rec_tf.data.input.features import features_to_ids, raw_specs
from lt4rec_tf.models.calibration import Calibrations, calibrated_outputs
from lt4rec_tf.models.heads.of_task import prediction, quantile, read_durations
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Feature, Schema, chained_tasks, product_name
from lt4rec_tf.serving.durations import duration_input, durations_of
from lt4rec_tf.serving.quantiles import NO_QUANTILES, Quantiles
from lt4rec_tf.serving.rank import Ranking, rank_specs, score
from lt4rec_tf.serving.served_network import ServedNetwork

DEFAULT_SIGNATURE, TF_EXAMPLE, REGRESS = "serving_default", "tf_example", "regress_"
RANK, SCORE = "rank", "score"
OF_CANDIDATES = (RANK, SCORE)  # others are of rows

Answers = dict[str, tf.Tensor]


def answer_names(
    schema: Schema, tasks: Sequence[str], quantiles: Quantiles = NO_QUANTILES
) -> dict[str, tuple[str, ...]]:
    """Returns the outputs for some tasks, each with what it multiplies: tasks, or a quantile.

    Two chained tasks give {"pctr": ("ctr",), "pcvr": ("cvr",), "pctcvr": ("ctr", "cvr")}, a
    quantile {"pcvr_q90": ("cvr_q90",)}.
    """
    names: dict[str, tuple[str, ...]] = {f"p{task}": (task,) for task in tasks}
    for first, second in chained_tasks(schema, tasks):
        names[f"p{product_name(first, second)}"] = (first, second)
    return names | {f"p{name}": (name,) for name in quantiles}


class ServedModel(tf.Module):
    """A network as a server computes it, with one function per signature.

    Signatures of rows take, by name, every feature of the schema: of its dtype, shape (batch,),
    multi-valued ones (batch, values) padded with the missing value; those of serialized examples
    take one string tensor (batch,). Outputs are float32 (batch,). For `rank` and `score` see
    `serving.rank`.

    Args:
        network: With its masks, which are folded.
        schema: Features and tasks.
        ranking: How `rank` scores; None: there is no such signature, nor `score`.
        precision: "float32" or "bfloat16": in which kernels are stored and multiplied.
        table_precision: "float32", "bfloat16" or "int8": in which tables are stored; None: as
            kernels.
        minimal: Leaves out of a signature the features that it does not read.
        calibrations: By task, maps that all answers are made with; None: there are none.
        quantiles: Answered beside the predictions of rows.
    """

    def __init__(
        self,
        network: RankingNetwork,
        schema: Schema,
        *,
        ranking: Ranking | None = None,
        precision: str = "float32",
        table_precision: str | None = None,
        minimal: bool = False,
        calibrations: Calibrations | None = None,
        quantiles: Quantiles = NO_QUANTILES,
    ) -> None:
        super().__init__(name="lt4rec")
        self._schema, self._tasks = schema, network.tasks
        self._ranking, self._minimal = ranking, minimal
        # Behind a proxy, as a module would track the values of a dictionary.
        self._calibrations = MappingProxyType(dict(calibrations or {}))
        self._quantiles = MappingProxyType(dict(quantiles))
        # Signatures call the same functions, so that a version holds each once.
        self._vectors = functools.cache(self._function_of_vectors)
        self._chances = functools.cache(self._function_of_chances)
        dtype, table_dtype = tf.as_dtype(precision), tf.as_dtype(table_precision or precision)
        self.network = ServedNetwork(network, schema, dtype, table_dtype)

    def signatures(self, *wanted: str) -> dict[str, Callable[..., Any]]:
        """Returns the concrete functions by signature name.

        Args:
            wanted: Names of those that are traced; none: of all.
        """
        names = answer_names(self._schema, self._tasks, self._quantiles)
        makers: dict[str, Callable[[], Any]] = {
            name.removeprefix("p"): partial(self._raw_signature, {name: factors})
            for name, factors in names.items()
        }
        makers[DEFAULT_SIGNATURE] = partial(self._raw_signature, names)
        makers[TF_EXAMPLE] = partial(self._example_signature, names, "examples")

        for task in self._tasks:
            regressed = {"outputs": (task,)}
            makers[f"{REGRESS}{task}"] = partial(self._example_signature, regressed, "inputs")
        if self._ranking:
            specs = rank_specs(self._schema, self._ranking)
            candidates = self._function_of_candidates(self._ranking, specs)
            only = "score" if self._ranking.scores_alone else ""
            makers[RANK] = partial(_signature_of_candidates, candidates, specs, only=only)
            makers[SCORE] = partial(_signature_of_candidates, candidates, specs, only="score")
        return {name: makers[name]() for name in wanted or makers}

    def predict(self, raw: Mapping[str, tf.Tensor], names: Mapping[str, Sequence[str]]) -> Answers:
        """Computes probabilities from raw features.

        Args:
            raw: By feature; one that is absent has its missing value in every row.
            names: As `answer_names` returns them.
        """
        rows = tf.shape(next(iter(raw.values())))[0]
        whole = {
            feature.name: raw[feature.name] if feature.name in raw else _absent(feature, rows)
            for feature in self._schema.features
        }
        return products(self._chances(self._tasks_behind(names))(whole), names)

    def _tasks_behind(self, names: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Returns the tasks of which some outputs are made, in the network's order."""
        factors = {factor for of_output in names.values() for factor in of_output}
        of_quantiles = {q.task for name, q in self._quantiles.items() if name in factors}
        return tuple(task for task in self._tasks if task in factors | of_quantiles)

    def _function_of_vectors(self) -> Callable[..., Any]:
        """Returns a function of all raw features -> field vectors."""
        specs = raw_specs(self._schema)

        @tf.function(input_signature=[specs], autograph=False)
        def vectors(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return self.network.vectors(self._ids(_checked(raw, specs)))

        return vectors

    def _ids(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns ids of the features that the network looks up; checks the others' shapes."""
        features = self._schema.features
        read = tuple(f for f in features if f.name in self.network.looked_up)
        _check_unread([f for f in features if f not in read], read, raw)
        return roomy_ids(replace(self._schema, features=read), raw)

    def _function_of_chances(self, tasks: tuple[str, ...]) -> Callable[..., Any]:
        """Returns a function of all raw features -> predictions of some tasks, and quantiles."""

        @tf.function(input_signature=[raw_specs(self._schema)], autograph=False)
        def chances(raw: dict[str, tf.Tensor]) -> Answers:
            outputs = self.network.logits(self._vectors()(raw), tasks)
            return self._predictions(outputs, raw, rank=1, quantiles=self._quantiles)

        return chances

    def _predictions(
        self,
        outputs: Mapping[str, tf.Tensor],
        raw: Mapping[str, tf.Tensor],
        rank: int,
        quantiles: Quantiles = NO_QUANTILES,
    ) -> Answers:
        """Returns calibrated predictions and quantiles; rank: 1 of rows, 2 of candidates."""
        seconds = durations_of(self._schema, self._calibrations, raw, rank)
        answers = {}
        for name, of_task in outputs.items():
            task, calibration = self._schema.task(name), self._calibrations.get(name)
            calibrated = calibrated_outputs(task, of_task, calibration, seconds)
            answers[name] = prediction(task, calibrated, seconds)
        for name, (of_quantile, level) in quantiles.items():
            if of_quantile in outputs:
                task = self._schema.task(of_quantile)
                answers[name] = quantile(task, outputs[of_quantile], level, seconds)
        return answers

    def features(self, tasks: Sequence[str]) -> list[str]:
        """Returns the inputs of a signature for some tasks, in the schema's order."""
        names = [feature.name for feature in self._schema.features]
        read = {*self.network.read_features(tasks)} if self._minimal else {*names}
        used = [self._calibrations[task] for task in tasks if task in self._calibrations]
        of_maps = any(calibration.by_duration for calibration in used)
        if of_maps or read_durations(self._schema, tasks):
            read.add(duration_input(self._schema).feature.name)
        # A signature that reads nothing still has one input, from which it gets the row count.
        return [name for name in names if name in read] or names[:1]

    def _raw_signature(self, names: Mapping[str, Sequence[str]]) -> Callable[..., Any]:
        specs = raw_specs(self._schema)
        wanted = self.features(self._tasks_behind(names))

        @tf.function(input_signature=[{name: specs[name] for name in wanted}], autograph=False)
        def serve(raw: dict[str, tf.Tensor]) -> Answers:
            return self.predict(raw, names)

        return serve.get_concrete_function()

    def _example_signature(
        self, names: Mapping[str, Sequence[str]], name: str
    ) -> Callable[..., Any]:
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name)], autograph=False)
        def serve(serialized: tf.Tensor) -> Answers:
            serialized = tf.ensure_shape(serialized, (None,))
            return self.predict(parse_examples(self._schema, serialized), names)

        return serve.get_concrete_function()

    def _function_of_candidates(
        self, ranking: Ranking, specs: Mapping[str, tf.TensorSpec]
    ) -> Callable[..., Any]:
        """Returns a function of requests -> answers about their candidates."""

        @tf.function(input_signature=[specs], autograph=False)
        def candidates(raw: dict[str, tf.Tensor]) -> Answers:
            raw = _checked(raw, specs)
            logits = self.network.rank(self._ids(raw), self._tasks)
            chances = self._predictions(logits, raw, rank=2)
            answers = {f"p{task}": tf.cast(chances[task], tf.float32) for task in self._tasks}
            return {"score": score(ranking, chances, raw), **answers}

        return candidates


def _signature_of_candidates(
    candidates: Callable[..., Any], specs: Mapping[str, tf.TensorSpec], *, only: str = ""
) -> Callable[..., Any]:
    @tf.function(input_signature=[specs], autograph=False)
    def serve(raw: dict[str, tf.Tensor]) -> Answers:
        answers = candidates(raw)
        return {only: answers[only]} if only else answers

    return serve.get_concrete_function()


def roomy_ids(schema: Schema, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns ids of raw features; lists get one more place, so that empty ones hold an id.

    Args:
        schema: Features.
        raw: As `features_to_ids` takes them, items' with a dimension of candidates or without.
    """
    ids = features_to_ids(schema, raw)
    for feature in schema.features:
        if feature.multivalued:
            places = [[0, 0]] * (ids[feature.name].shape.rank - 1) + [[0, 1]]
            ids[feature.name] = tf.pad(ids[feature.name], places)
    return ids


def parse_examples(schema: Schema, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses tf.Examples; an absent feature gets the schema's missing value.

    Args:
        schema: Features by name.
        serialized: string (batch,).

    Returns:
        By feature: (batch,), multi-valued (batch, values) padded with the missing value.
    """
    specs: dict[str, Any] = {}
    for feature in schema.features:
        dtype = DTYPES[feature.dtype]
        if feature.multivalued:
            specs[feature.name] = tf.io.VarLenFeature(dtype)
        else:
            specs[feature.name] = tf.io.FixedLenFeature((), dtype, default_value=feature.missing)

    raw = tf.io.parse_example(serialized, specs)
    for feature in schema.features:
        if feature.multivalued:
            raw[feature.name] = tf.sparse.to_dense(raw[feature.name], feature.missing)
    return raw


def _absent(feature: Feature, rows: tf.Tensor) -> tf.Tensor:
    shape = [rows, 1] if feature.multivalued else [rows]
    return tf.fill(shape, tf.constant(feature.missing, DTYPES[feature.dtype]))


def _check_unread(
    unread: Sequence[Feature], read: Sequence[Feature], raw: Mapping[str, tf.Tensor]
) -> None:
    """Lets a request fail in which features that nothing reads have other rows than read ones."""

    def rows(feature: Feature) -> tf.Tensor:
        values = raw[feature.name]
        return tf.shape(values)[: values.shape.rank - feature.multivalued]

    for feature in unread:
        of_side = [other for other in read if (other.side == "item") == (feature.side == "item")]
        like = (of_side or read)[0]
        expected = rows(like) if of_side else rows(like)[:1]
        tf.debugging.assert_equal(
            rows(feature), expected, f"{feature.name}: expected as many rows as {like.name}"
        )


def _checked(raw: Mapping[str, tf.Tensor], specs: Mapping[str, tf.TensorSpec]) -> Answers:
    # TensorFlow Serving checks names and dtypes of a request and no shape.
    return {name: tf.ensure_shape(raw[name], specs[name].shape) for name in raw}


def products(chances: Mapping[str, tf.Tensor], names: Mapping[str, Sequence[str]]) -> Answers:
    """Multiplies predictions to outputs, float32.

    Args:
        chances: By task, or by quantile.
        names: As `answer_names` returns them.
    """
    return {
        name: tf.cast(math.prod(chances[task] for task in factors), tf.float32)
        for name, factors in names.items()
    }
