"""Predictions that another program wrote: columns, names of images, and what the numbers mean."""
