"""Benchmark accuracy of a vision-language model, known only through the transformers API."""
