"""Putting questions to a model, and what it answers."""
