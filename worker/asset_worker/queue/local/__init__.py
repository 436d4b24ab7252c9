"""The queue engine for one machine, and the other files in its state directory.

`engine.py` is the queue, `outbox.py` holds its events to send, `commits.py` combines the writes of many callers into
transactions, `journal.py` is the database, and `migrations.py` upgrades an older one. `lock.py` keeps a second worker
out; `schedule_store.py` stores what the schedule has learned; `status_report.py` is the report of `status`, for which
`reading.py` opens the journal. `trust.py` says which directory may keep state, `files.py` which files SQLite may open,
and `schema.py` what the database may hold.
"""
