"""Parrot: a language model and a vision encoder become a multilingual vision-language model."""

__version__ = "0.1.0"
