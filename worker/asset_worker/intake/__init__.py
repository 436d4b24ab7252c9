"""Where submissions come from.

The law of this layer: an intake reads, and hands over what it read together with its position; it stores nothing. The
queue stores both in one transaction, so that after a crash an intake goes on after the last accepted line. When in
doubt it reads again: the queue drops a repeat, but a line that is skipped is a lost asset.
"""
