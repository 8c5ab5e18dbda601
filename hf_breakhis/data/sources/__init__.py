"""Load images from each supported source."""
