"""One training stage: steps, trainer, optimizers, checkpoints, evaluation."""
