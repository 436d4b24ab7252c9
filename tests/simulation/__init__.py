"""The whole worker in a simulated world: deterministic from a seed, in one process and one thread."""
