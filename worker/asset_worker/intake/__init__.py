"""Intakes: where submissions come from.

The law of this layer: an intake reads, and hands over what it has read together with its position; it stores nothing.
The queue stores both in one transaction, so that after a crash the intake continues after the last accepted line. When
in doubt it reads lines again: the queue drops repeats, but a skipped line is a lost asset.
"""
