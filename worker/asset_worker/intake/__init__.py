"""Lines to submissions.

The law of this layer: an intake reads, and hands over what it read together with how far it has come; it keeps
nothing. The queue keeps both in one transaction, so that after a crash an intake goes on where the last accepted line
ended. When in doubt it reads again: a repeat is dropped by the queue, a skipped line would be a lost asset.
"""
