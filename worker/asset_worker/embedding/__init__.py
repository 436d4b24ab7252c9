"""The Python API: the worker as a part of another program.

The poller runs in a thread of its own, with an event loop of its own (`background`). Every client of the process uses
that one, whichever thread or event loop it is called from: so one key has one limiter, and nothing of the host (its
signals, event loop, log, garbage collector) is touched.

`client` and `blocking` are what callers use; `engine` runs the parts for them, and `waits` knows who waits for what.
"""
