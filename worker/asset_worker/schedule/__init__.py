"""When to look again: pure functions from what is known of a wait to the seconds until the next look.

The law of this layer: no I/O, no clock, no logging, no randomness of its own. Ages and delays are seconds and come as
parameters, as do random numbers (`uniform`). Of the rest of the package only the type `Uniform` is imported.

A schedule is a callable from a `WaitState` to a delay. `waits.from_tenacity` makes one of any tenacity wait strategy,
so `wait_chain`, `+` and `wait_combine` compose schedules. Polling is not retrying: a schedule spaces answers that said
"not done yet"; a failed request has a policy of its own (`asset_worker.api.retry`).
"""
