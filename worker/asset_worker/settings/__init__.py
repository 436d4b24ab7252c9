"""One typed tree of settings: a TOML file, then the environment, then flags; the later wins.

Each setting's meaning, its unit and the reason of its default stand here, and come from here into `config/schema.json`.
"""
