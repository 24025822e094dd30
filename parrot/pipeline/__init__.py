"""Processes, locks and the graph as DVC knows it: all that runs a pipeline and is no stage of it."""
