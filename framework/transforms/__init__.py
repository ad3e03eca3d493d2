"""Stateful transforms: JAX's, over functions that read and write Variables."""
