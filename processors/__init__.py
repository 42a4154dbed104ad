"""A library of pure processors: no asyncio, no I/O, no clock or randomness that is not passed in."""
