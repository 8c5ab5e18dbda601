"""Scores, intervals, leakage, calibration and thresholds."""
