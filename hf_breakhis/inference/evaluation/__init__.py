"""Evaluate a model on images of another origin than its training set."""
