"""Keras layers: the embedding table, the cross layers, one task's view of a shared Dense."""
