"""The engine of one machine, and the other files of its state directory.

`engine.py` is the queue, `commits.py` makes transactions of what many callers write, `journal.py` is the database.
`lock.py` keeps a second worker out; `schedule_store.py` keeps what the schedule has learned; `status_report.py` reads
it all from another process.
"""
