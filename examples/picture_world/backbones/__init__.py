"""The two small backbones, trained on the world from scratch and written as Hub-style folders."""
