"""Heads of ratios and amounts: how a network's outputs become a prediction, and what they learn.

Losses take outputs, labels, weights and an emphasis as those of `models.losses` do. A label y of 0
or more is learned in a unit u, its mean in train. Outputs of 0 stand for about what train holds: a
head begins there, and its biases need not learn it.
"""
