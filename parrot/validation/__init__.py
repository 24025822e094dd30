"""Nothing trains on data that breaks the contract or misses an expectation."""
