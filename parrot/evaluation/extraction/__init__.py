"""Answer extraction: from what a model wrote to the letter of the option that it means, or to nothing."""
