"""State directories of earlier versions in a simulated world."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from asset_worker.queue.local.journal import FILE_NAME
from tests.fixtures.upgrades.restoring import FIRST_WITH_CLOCK
from tests.simulation.assets import Account
from tests.simulation.earlier_state import commits, draw_earlier_state, earlier_state

WALL = 1_900_000_000.0
ROOT = "/world/spool"


@pytest.mark.parametrize("commit", commits())
def test_a_state_directory_is_put_as_if_its_worker_had_been_killed_a_second_ago(tmp_path, commit):
    earlier = earlier_state(commit)
    inodes = {name: 1_000 + number for number, name in enumerate(sorted(earlier.files))}
    state = tmp_path / "state"
    earlier.put(state, root=ROOT, inodes=inodes, base_url="https://api.example/v1.3", wall=WALL)
    assert (state / f"{FILE_NAME}-wal").stat().st_size > 100_000, "the log that the kill left is not moved"
    assert not (state / "aside").exists()
    made = earlier.made
    with closing(sqlite3.connect(state / FILE_NAME)) as connection:
        assert dict(connection.execute("SELECT asset_id, completion FROM pending")) == made.pending
        sinks = dict(connection.execute("SELECT name, mark FROM sinks"))
        assert {*earlier.undelivered(ROOT)} <= {*sinks}
        name = f"file:{ROOT}/events.jsonl"
        assert json.loads(sinks[name])["inode"] == inodes["events.jsonl"]
        [[position]] = connection.execute("SELECT position FROM intakes WHERE name = ?", [f"file:{ROOT}/queue"])
        # The queue file was rotated after the kill: what was read last is queue.1, and before that queue.2.
        assert f'"inode":{inodes["queue.1"]}'.encode() in position
        if made.schema >= FIRST_WITH_CLOCK:
            assert connection.execute("SELECT wall FROM clock").fetchone() == (WALL - 1,)
        else:
            [accepted_at] = connection.execute("SELECT max(accepted_at) FROM pending").fetchone()
            assert WALL - 60 < accepted_at < WALL


def test_the_files_hold_what_the_manifest_says():
    earlier = draw_earlier_state(Random(1))
    made = earlier.made
    written = [json.loads(line) for line in earlier.files["events.jsonl"].content.splitlines()]
    assert {*made.rejected} <= {each["id"] for each in written}
    queued = b"".join(each.content for name, each in earlier.files.items() if name.startswith("queue")).decode()
    assert all(each in queued for each in made.unseen)
    assert earlier.files["queue"].mtime_ns == made.mtimes["queue"]


def test_all_assets_can_be_added_to_the_account():
    earlier, account = earlier_state(commits()[-1]), Account()
    earlier.add_assets(account, born=-100.0)
    made = earlier.made
    assert {*made.pending, *made.unseen, *made.uploaded, *made.settled} <= {*account.assets}
    assert {account.timeline(each, {})[-1][1] for each in made.pending} == {"ready"}


def test_the_seed_chooses_the_version():
    drawn = [draw_earlier_state(Random(seed)).made.commit for seed in range(40)]
    assert drawn == [draw_earlier_state(Random(seed)).made.commit for seed in range(40)]
    assert {*drawn} == {*commits()}


def test_only_the_state_directory_is_written(tmp_path: Path):
    earlier_state(commits()[0]).put(tmp_path / "state", root=ROOT, inodes={}, base_url="", wall=WALL)
    assert [each.name for each in tmp_path.iterdir()] == ["state"]
