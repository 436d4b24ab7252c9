"""The intake that follows a queue file through rotation.

`intake.py` runs in the event loop and drives `follower.py`, the state machine. `file_set.py` holds the open files, each
read by a `tail_reader.py`. `search.py` and `directories.py` find the others: `checkpoint.py` identifies a file and says
how far it was read, `names.py` recognises the name of a rotated file.
"""
