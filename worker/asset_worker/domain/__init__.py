"""The values that describe assets, submissions and events, and every rule that decides about them.

The law of this layer: frozen values and pure functions of values. No I/O, no clock, no randomness, no logging: instants
and ages are parameters. It imports nothing else of the package.
"""
