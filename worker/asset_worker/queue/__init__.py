"""Pending assets (accepted, not settled) and the outbox of the events that settle them.

The law of this layer: an engine keeps what it has accepted until it is settled, leases each asset when it is due, and
hands its events to the sinks. It knows nothing of the API, of outcomes or of schedules, and nobody else knows which
engine it is: they see the protocols in `ports.py`. The layers, each on top of the one before:

- `heap.py`: assets by due time; arithmetic only
- `pending.py`: pending assets and leases in memory; waiting for what is due
- `memory.py`: an engine that keeps nothing between runs
- `local/`: an engine with a journal on the disk

`sink_positions.py` is what the engines' outboxes share. Every engine passes the same suites: `tests/unit/queue`,
`conformance.py` for `Queue` and `QueueStatus`, `test_lifecycle.py` and `test_outbox.py`.
"""
