"""Check whether images are complete, readable and free of copies."""
