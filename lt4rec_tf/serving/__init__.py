"""From a trained network to a published SavedModel."""
