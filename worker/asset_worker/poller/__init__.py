"""Take what is due, look, assess, defer or settle.

`decide` decides what follows from one look, `trust` whether lists are to be believed, both purely; `loop` does it.
"""
