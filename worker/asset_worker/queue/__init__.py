"""The queue: pending assets (accepted, not settled), and the outbox of the events that settle them.

The law of this layer: an engine keeps what it has accepted until it is settled, leases each asset when it is due, and
hands its events to the sinks. It knows nothing about the API, outcomes or schedules. Other parts don't know which
engine they use: they see the protocols in `ports.py`. The layers, each on top of the one before:

- `heap.py`: assets by due time; arithmetic only
- `room.py`: back pressure on the intakes
- `pending.py`: pending assets and leases in memory; waiting for what is due
- `memory.py`: an engine that keeps nothing between runs
- `local/`: an engine with a journal on the disk

The outboxes of both engines share `sink_positions.py`. Every engine passes the same suites in `tests/unit/queue`:
`conformance.py` for `Queue` and `QueueStatus`, `test_lifecycle.py`, `test_outbox.py` and `test_independent_outbox.py`.
"""
