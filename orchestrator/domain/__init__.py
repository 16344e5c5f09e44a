"""The pure core: what a request may become, and why. No clock, no I/O, no randomness."""
