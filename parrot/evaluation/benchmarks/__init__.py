"""Benchmarks as their publishers ship them: which files there are, and the questions in them."""
