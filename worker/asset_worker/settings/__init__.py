"""The settings: reads a TOML file, the environment and flags into one typed tree; the later source wins.

The law of this layer: it defines what users may write, and reports what is wrong with it. `wiring` derives policies
from the settings.
"""
