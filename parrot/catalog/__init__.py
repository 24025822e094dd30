"""Where the data sets of the profiles are published, what is there of them, and fetching the rest."""
