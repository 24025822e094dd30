"""Stage one and stage two, and the `Trainer` that every training stage shares."""
