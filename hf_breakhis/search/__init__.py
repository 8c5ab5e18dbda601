"""Nested search of hyperparameters with Optuna."""
