"""A simulated feed whose truth is known: users, videos, exposure, purchases, reactions."""
