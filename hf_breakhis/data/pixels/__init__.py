"""Decode, transform, augment and cache pixels."""
