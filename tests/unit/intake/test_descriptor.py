"""Reading a descriptor until the stop."""

from __future__ import annotations

import os

from asset_worker.intake.descriptor import DescriptorReader


def test_what_has_come_when_the_stop_comes_is_left_to_the_next_reader():
    reading, writing = os.pipe()
    reader = DescriptorReader(reading)
    os.write(writing, b"a1\n")
    assert reader.read() == b"a1\n"
    os.write(writing, b"a2\n")
    reader.stop()
    assert reader.read() is None
    assert os.read(reading, 9) == b"a2\n"
    reader.close()
    os.close(reading)
    os.close(writing)
