"""Talking to a model that was trained here."""
