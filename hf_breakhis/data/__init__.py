"""Where images come from, whether they are whole, which belong together, and how they reach a model."""
