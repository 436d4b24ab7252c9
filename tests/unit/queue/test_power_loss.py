"""What was not synced is gone: the journal's write-ahead log, cut at any byte, opens on a whole number of commits."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from asset_worker.domain.assets import AssetId, Outcome
from asset_worker.domain.events import Event
from asset_worker.domain.submissions import Submission
from asset_worker.queue.local.journal import Journal
from asset_worker.queue.local.settled_rows import Settlement

ASSETS = 12


def commit_after_commit(path):
    """Accepts with their position, settlements with their event; left as a crash leaves it."""
    journal = Journal(path)
    for number in range(ASSETS):
        with journal.transaction():
            journal.accept([Submission(AssetId(f"a{number}"), "file:/q", number + 1)], at=1.0, window_start=0.0)
            journal.set_intake("file:/q", b"%d" % (number + 1))
        if number % 3 == 2:
            with journal.transaction():
                journal.settle(Settlement(AssetId(f"a{number}"), 1, "ready", 1.0, 2.0))
                journal.add_events([Event(f"a{number}.1", Outcome.READY, b"{}")])
    return journal


with TemporaryDirectory() as _directory:
    _path = Path(_directory) / "j"
    _journal = commit_after_commit(_path)
    MAIN, LOG = _path.read_bytes(), Path(f"{_path}-wal").read_bytes()
    _journal.close()


@given(st.integers(0, len(LOG)))
@settings(deadline=None)
def test_a_log_cut_anywhere_opens_on_a_whole_number_of_commits(cut):
    with TemporaryDirectory() as directory:
        path = Path(directory) / "j"
        path.write_bytes(MAIN)
        Path(f"{path}-wal").write_bytes(LOG[:cut])
        journal = Journal(path)
        try:
            pending = {kept.submission.asset_id for kept in journal.pending()}
            sent = {event_id for _, event_id, _ in journal.events_after(0, 99)}
            position = int(journal.intakes().get("file:/q", b"0"))
        finally:
            journal.close()
        # Everything before the position is either pending or has its event; nothing after it is there.
        for number in range(ASSETS):
            accepted = f"a{number}" in pending
            settled = f"a{number}.1" in sent
            assert (accepted != settled) == (number < position), (number, position)
            assert not (accepted and settled)


@given(st.integers(0, len(LOG) - 1), st.integers(1, 255))
@settings(deadline=None)
def test_a_log_with_a_flipped_byte_opens_on_what_came_before(place, flip):
    with TemporaryDirectory() as directory:
        path = Path(directory) / "j"
        path.write_bytes(MAIN)
        damaged = bytearray(LOG)
        damaged[place] ^= flip
        Path(f"{path}-wal").write_bytes(damaged)
        journal = Journal(path)
        try:
            pending = {kept.submission.asset_id for kept in journal.pending()}
            position = int(journal.intakes().get("file:/q", b"0"))
        finally:
            journal.close()
        assert len(pending) + position // 3 >= position


def test_the_log_holds_all_commits():
    with TemporaryDirectory() as directory:
        path = Path(directory) / "j"
        path.write_bytes(MAIN)
        Path(f"{path}-wal").write_bytes(LOG)
        journal = Journal(path)
        assert int(journal.intakes()["file:/q"]) == ASSETS
        journal.close()
