"""An example that publishes: data sets and two small backbones, in the forms in which real ones come."""
