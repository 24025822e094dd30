"""From answers to letters and accuracies, without a model: ours and VLMEvalKit's way."""
