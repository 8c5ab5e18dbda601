"""Commands that share a run: publish, space, page, and the push after training."""
