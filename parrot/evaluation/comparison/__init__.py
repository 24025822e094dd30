"""Two evaluations beside each other."""
