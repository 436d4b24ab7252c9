"""The pending assets: accepted, not settled.

`Queue` is the whole contract between whoever fills the queue and whoever empties it. An engine keeps it durably and
hands out leases by due time; it knows nothing of the API, of outcomes or of schedules. One conformance suite
(`tests/unit/queue/conformance.py`) holds for every engine.
"""
