"""The embedded picture world: small scenes with captions and questions in six languages."""
