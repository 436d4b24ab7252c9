"""The queue engine for one machine, and the other files in its state directory.

`engine.py` is the queue, `outbox.py` holds its events to send, `commits.py` combines the writes of many callers into
transactions, `journal.py` is the database (some tables have a module of their own, `*_rows.py`), and `migrations.py`
upgrades an older one. `dead_letter_access.py` has a request about dead letters carried out: by the worker that runs,
for which `request_files.py` leaves it and which `request_service.py` lets find it, or by this process; either does what
`dead_letter_requests.py` says. `lock.py` keeps a second worker out; `schedule_store.py` stores what the schedule has
learned; `status_report.py` and `dead_letter_report.py` are the reports of commands, for which `reading.py` opens the
journal. `trust.py` says which directory may keep state, `files.py` which files SQLite may open, and `schema.py` what
the database may hold.
"""
