"""The engine of one machine, and the other files of its state directory.

`engine.py` is the queue, `outbox.py` its events to send, `commits.py` makes transactions of what many callers write,
`journal.py` is the database, and `migrations.py` brings an older one up to date. `lock.py` keeps a second worker out;
`schedule_store.py` keeps what the schedule has learned; `status_report.py` reads the journal from another process.
"""
