"""Published backbones, made fit for images."""
