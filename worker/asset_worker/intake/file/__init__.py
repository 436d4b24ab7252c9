"""The intake that follows a queue file through rotation.

`intake.py` runs in the event loop and drives `follower.py`, the state machine. `file_set.py` holds the open files, each
read by a `tail_reader.py`. `queue_file.py` opens each of them, and refuses what unfriendly writers may have put there.
`search.py`, `beside.py` and `directories.py` find the others; `seen.py` remembers those that are not to be read, and
`positions.py` finds the stored position.

What is decided is in pure functions: `checkpoint.py` identifies a file and says how far it was read, `siblings.py` says
what a file beside the path is, `names.py` recognises the name of a rotated file, `gaps.py` says what may be missing.
"""
