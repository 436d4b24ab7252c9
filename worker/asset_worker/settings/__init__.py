"""The settings: from a TOML file, the environment and flags to one typed tree; the later source wins.

The law of this layer: it says what a user may write and what is wrong with it. What follows from a setting is derived
in `wiring`.
"""
