"""What a run shows people on a terminal.

The law of this package: what is shown is a pure function of values (`words`, `spans`, `event_lines`, `scene`, `frames`,
`plain`). Only `live` knows the terminal, the clock and the running service.
"""
