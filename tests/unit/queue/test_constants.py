"""Values that users can notice and that no document gives; those of the documents are in `test_documented_values`."""

import pytest

from asset_worker.queue import commits, dead_letters
from asset_worker.queue.local import (
    dead_letter_access,
    engine,
    request_files,
    request_service,
    schema,
)


@pytest.mark.parametrize(
    ("value", "is_"),
    [
        pytest.param(engine.PRUNE_EVERY_SECONDS, 60, id="seconds after which what is old is gone"),
        pytest.param(engine.SERVE_REQUESTS_SECONDS, 0.25, id="seconds that a command waits for a worker at most"),
        pytest.param(engine.PROGRESS_EVERY_SECONDS, 1, id="seconds after which status knows of a look"),
        pytest.param(engine.CHECK_FILES_SECONDS, 1, id="seconds until a journal that was moved is noticed"),
        pytest.param(engine.MARK_EVERY_SECONDS, 60, id="seconds that a crash may take from steady time"),
        pytest.param(engine.SHUTDOWN_SECONDS, 3, id="seconds for which a disk that hangs holds up a stop"),
        pytest.param(commits.RETRY_SECONDS, 1, id="seconds until a disk that was full is tried again"),
        pytest.param(dead_letter_access.LOOK_SECONDS, 0.05, id="seconds between two looks for an answer"),
        pytest.param(dead_letter_access.LOCK_SECONDS, 1, id="seconds until a command notices that the worker ended"),
        pytest.param(request_files.MAX_BYTES, 4 * 2**20, id="bytes of a request at most"),
        pytest.param(request_files.MAX_FOUND, 100, id="requests that are read at once"),
        pytest.param(request_files.STALE_SECONDS, 3600, id="seconds for which an answer is kept"),
        pytest.param(request_service.KEEP_ANSWERS_SECONDS, 7 * 86_400, id="seconds in which no request is done twice"),
        pytest.param(dead_letters.NAMED_IDS, 5, id="IDs that an error names"),
        pytest.param(schema._SHOWN_CHARACTERS, 64, id="characters of a forged name that are shown"),
    ],
)
def test_the_value_is(value: float, is_: float) -> None:
    assert value == is_
