"""What a run shows people on a terminal.

The law of this package: what is shown is a pure function of values (`spans`, `event_lines`, `scene`, `frames`,
`plain`; the words are those of `telemetry.words`). Only `live` knows the terminal, the clock and the running service.
"""
