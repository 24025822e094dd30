"""Checkpoints of the authors' code (AIDC-AI/Parrot-7B, -14B) to ours and back."""
