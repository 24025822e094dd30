"""What is shown of an evaluation: accuracies with intervals, tables, plots, a page."""
