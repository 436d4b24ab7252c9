"""When to look again: pure functions from what is known about a wait to the seconds until the next look.

The law of this layer: no I/O, no clock, no logging, no randomness of its own. Ages and random numbers (`uniform`) are
parameters; ages and delays are in seconds. It imports nothing of the package but `domain` and the type `Uniform`.

A schedule is a callable that takes a `WaitState` and returns a delay. `waits.from_tenacity` turns any tenacity wait
strategy into one, so `wait_chain`, `+` and `wait_combine` compose schedules. Polling is not retrying: a schedule is for
assets that an answer showed not done; requests that failed have a policy of their own (`asset_worker.api.retry`).
"""
