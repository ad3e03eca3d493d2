"""Checkpoints: exact, verified and crash-safe files of objects and PyTrees."""
