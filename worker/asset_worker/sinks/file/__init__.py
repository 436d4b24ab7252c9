"""The sink that appends events to a file and repeats none of them.

`sink.py` says how it knows what the file holds, `opening.py` opens, locks and finds files, `scan.py` reads what follows
a checkpoint, and `writing.py` writes again what was found there.
"""
