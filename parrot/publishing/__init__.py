"""From a trained model to a folder that can be uploaded: weights, code, card and where it came from."""
