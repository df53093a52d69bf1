"""Published versions, opened for one request."""

from lt4rec_tf.serving.publish import opened


def session_answers(folder, signature, inputs):
    """Opens a version for one request; see `OpenedVersion.answers`."""
    with opened(folder) as version:
        return version.answers(signature, inputs)
