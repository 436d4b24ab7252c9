"""The password of a fleet's database is in nothing that a command prints."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.doubles.postgres import with_password
from tests.unit.cli.conftest import Command

PASSWORD = "sesame-0/open-1:now-2@once-3"
WRONG = "elpmas-4/wrong-5:today-6@again-7"
PARTS = ["elpmas", "wrong-5", "today", "again-7"]


@pytest.mark.parametrize("form", ["URL", "keywords", "as it is", "file"])
@pytest.mark.parametrize("arguments", [("fleet", "status"), ("submit", "a1"), ("fleet", "init"), ("config",)])
def test_it_is_not_shown_when_the_server_refuses_it(database, command: Command, form: str, arguments: tuple[str, ...]):
    wrong = with_password(database, "ada", PASSWORD).replace(quote(PASSWORD, safe=""), quote(WRONG, safe=""))
    host = database.rpartition("host=")[2]
    address = {
        "keywords": f"host={host} user=ada dbname=postgres password='{WRONG}'",
        "as it is": wrong.replace(quote(WRONG, safe=""), WRONG),
    }.get(form, wrong)
    Path("url").write_text(f"{address}\n")
    settings = {"postgres__url_file": "url"} if form == "file" else {"postgres__url": address}
    result = command(*arguments, **settings)
    if arguments == ("config",):
        assert (result.exit_code, 'url = "********"' in result.stdout) == (0, True)
    elif form == "as it is":
        assert (result.exit_code, "percent-encode" in result.stderr) == (2, True), result.stderr
    else:
        assert (result.exit_code, "password authentication failed" in result.stderr) == (75, True), result.stderr
    assert not [part for part in PARTS if part in result.output]
