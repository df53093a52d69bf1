"""A transformer over the events of a user's past, which lets each event see the others.

    s = e' + p
    s = norm(s + heads(s)),  s = norm(s + relu(s W + b) V + c)     for each block
    e + g * s                                                      is what comes out

e' is e at one length (`event_attention.evened`), p a vector for each position. g begins at 0, so
that a network begins as one without a transformer (ReZero, arXiv 2003.04887): norm makes rows that
are hardly trained as loud as all others. Source: Behavior Sequence Transformer (BST, arXiv
1905.06874, section 2.2), in which the candidate is one more event; here it attends to what comes
out, so that a request computes this once for all its candidates. Time gaps are a list of the
sequence.
"""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.event_attention import evened
from lt4rec_tf.models.layers.event_parameters import Draw, start_of

_EPSILON = 1e-6  # of layer normalisation
_WIDER = 2  # the width of a block's hidden layer, in widths of an event


class EventTransformer(keras.layers.Layer):
    """Self-attention among the events of each row.

    Attributes:
        parameters: Its trained variables by name.

    Args:
        width: Numbers of an event.
        positions: The most events.
        blocks: Blocks, one above the other.
        heads: Heads of each block; a divisor of the width.
        draw: A variable's name -> what draws it.
    """

    def __init__(
        self,
        width: int,
        positions: int,
        blocks: int,
        heads: int,
        draw: Draw,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if width % heads:
            raise ValueError(
                f"heads: found {heads}, expected a divisor of an event's width {width}"
            )
        self._heads, self._blocks, self._positions = heads, blocks, positions
        shapes: dict[str, tuple[int, ...]] = {
            "position_kernel": (positions, width),
            "gate": (width,),
        }
        for block in range(blocks):
            of_block = {
                "query_kernel": (width, width),
                "key_kernel": (width, width),
                "value_kernel": (width, width),
                "mixed_kernel": (width, width),
                "norm_0_scale": (width,),
                "norm_0_shift": (width,),
                "wide_kernel": (width, _WIDER * width),
                "wide_bias": (_WIDER * width,),
                "narrow_kernel": (_WIDER * width, width),
                "narrow_bias": (width,),
                "norm_1_scale": (width,),
                "norm_1_shift": (width,),
            }
            shapes |= {f"block_{block}_{name}": shape for name, shape in of_block.items()}
        self.parameters = {
            name: self.add_weight(name=name, shape=shape, initializer=start_of(name, draw))
            for name, shape in shapes.items()
        }

    def of_rows(self, events: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """Lets the events of each row see each other.

        Args:
            events: float32 (rows, positions, width).
            real: bool (rows, positions): there is an event. What comes out of others is arbitrary.

        Returns:
            float32 (rows, positions, width).
        """
        last = self._positions - 1
        places = tf.minimum(tf.range(tf.shape(events)[1]), last)
        seen = evened(events) + tf.gather(self.parameters["position_kernel"], places)
        hidden = tf.where(real, 0.0, events.dtype.min)[:, tf.newaxis, tf.newaxis]
        for block in range(self._blocks):
            weights = {
                name.removeprefix(f"block_{block}_"): variable
                for name, variable in self.parameters.items()
                if name.startswith(f"block_{block}_")
            }
            attended = _attended(seen, hidden, self._heads, weights)
            seen = _normalised(seen + attended, weights["norm_0_scale"], weights["norm_0_shift"])
            wide = tf.nn.relu(_product(seen, weights["wide_kernel"]) + weights["wide_bias"])
            narrow = _product(wide, weights["narrow_kernel"]) + weights["narrow_bias"]
            seen = _normalised(seen + narrow, weights["norm_1_scale"], weights["norm_1_shift"])
        return events + self.parameters["gate"] * seen


def _attended(
    events: tf.Tensor, hidden: tf.Tensor, heads: int, weights: dict[str, tf.Variable]
) -> tf.Tensor:
    """Returns multi-head attention of events to events.

        softmax(q k' / sqrt(width of a head)) v

    Args:
        events: float32 (rows, positions, width).
        hidden: What is added to logits: 0, or a very low number where there is no event.
        heads: Their number.
        weights: Kernels of the block.
    """
    width = events.shape[-1]
    split = tf.concat([tf.shape(events)[:2], [heads, width // heads]], axis=0)
    query, key, value = (
        tf.transpose(tf.reshape(_product(events, weights[f"{name}_kernel"]), split), [0, 2, 1, 3])
        for name in ("query", "key", "value")
    )
    logits = tf.matmul(query, key, transpose_b=True) / math.sqrt(width // heads) + hidden
    mixed = tf.transpose(tf.matmul(tf.nn.softmax(logits), value), [0, 2, 1, 3])
    return _product(tf.reshape(mixed, tf.shape(events)), weights["mixed_kernel"])


def _product(tensor: tf.Tensor, kernel: tf.Variable) -> tf.Tensor:
    """Multiplies the last axis, as one product of two matrices."""
    flat = tf.matmul(tf.reshape(tensor, [-1, kernel.shape[0]]), kernel)
    return tf.reshape(flat, tf.concat([tf.shape(tensor)[:-1], kernel.shape[1:]], axis=0))


def _normalised(tensor: tf.Tensor, scale: tf.Variable, shift: tf.Variable) -> tf.Tensor:
    mean, variance = tf.nn.moments(tensor, axes=[-1], keepdims=True)
    return (tensor - mean) * tf.math.rsqrt(variance + _EPSILON) * scale + shift
