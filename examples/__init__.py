"""Programs that use Parrot as anyone would, and that it knows nothing of."""
