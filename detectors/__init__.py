"""The pure core: numpy in, evidence and decisions out. No clock, no randomness, no files, no network."""
