"""The address of a database: its passwords are found, and what libpq would misread never reaches it."""

from __future__ import annotations

import psycopg
import pytest

from asset_worker.queue.postgres.address import passwords_in
from asset_worker.queue.postgres.errors import DatabaseError


@pytest.mark.parametrize(
    ("address", "passwords"),
    [
        ("postgresql://ada@db/assets", []),
        ("postgresql://ada:sesame%40%2Fopen@db1,db2:5433/assets?target_session_attrs=read-write", ["sesame@/open"]),
        ("postgres://ada:sesame@db/assets?options=-c%20a%3Db@c", ["sesame"]),
        ("postgresql://db/assets?user=ada&password=sesame&sslpassword=key", ["sesame", "key"]),
        ("host=db port=5432,5433 password=sesame", ["sesame"]),
        (r"host=db password='open it\'s \\ me'", [r"open it's \ me"]),
        ("postgresql://ada:open?sesame@db/assets?options=-c%20a%3Db@c", ["open?sesame"]),
        ("postgresql://postgres@/assets?host=/run/postgresql", []),
    ],
)
def test_its_passwords_are_found(address: str, passwords: list[str]):
    assert passwords_in(address) == passwords


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:open@sesame@db/assets",
        "postgresql://ada:open/sesame@db/assets",
        "postgresql://ada:5432/sesame@db/assets",
        "postgresql://ada:open/it?sesame@db/assets",
        "postgresql://ada:open@it?sesame@db/assets",
        "postgresql://ada:open?it@sesame@db/assets",
        "postgresql://ada:open%sesame@db/assets",
        "host=db password=open sesame",
        "host=db password='open sesame",
        "open-sesame",
        "postgresql://ada@db:sesame/assets",
        "host=db port=99999 password=sesame",
        "host=db port=sesame",
    ],
)
def test_one_that_can_not_be_read_is_refused_without_a_word_of_it(address: str):
    with pytest.raises(DatabaseError) as caught:
        passwords_in(address)
    assert "sesame" not in str(caught.value).lower()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_libpq_itself_would_show_a_part_of_the_password():
    """The reason why it is not asked: if this fails, the rule may no longer be needed."""
    with pytest.raises(psycopg.Error, match="sesame"):
        psycopg.connect("postgresql://ada:open@sesame@127.0.0.1/assets", connect_timeout=2)
