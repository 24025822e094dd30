"""The two backbones: taken from the Hub at a pinned commit, or trained here from scratch."""
