"""When to look again: pure functions from what is known of a wait to seconds.

A schedule is a callable from a `WaitState` to a delay. Any tenacity wait strategy is one (`waits.from_tenacity`), so
they
compose: `wait_chain`, `+`, `wait_combine` and one's own.
Polling is not retrying: a schedule spaces answers that said "not done yet"; a request that failed has a policy of its
own (`worker.api.retry`).
"""
