"""How questions are worded: one module per language."""
