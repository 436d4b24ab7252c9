"""Lines to submissions: every rule of the queue line, and hostile lines."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from asset_worker.domain.assets import ASSET_ID, WaitFor
from asset_worker.domain.events import rejected
from asset_worker.domain.submissions import Options, Rejection, Submission, Zeros
from asset_worker.intake.lines import DEADLINE_LIMIT, parse, parse_lines, reject
from asset_worker.intake.splitter import LINE_BYTES_LIMIT, Line, LineSplitter
from asset_worker.runtime.durations import PATTERN as DURATION_PATTERN

BOM = b"\xef\xbb\xbf"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def parsed(raw: bytes) -> Submission | Rejection | None:
    return parse(Line(raw, 100, 101 + len(raw)), number=7, origin="stdin", stream="run")


def submitted(raw: bytes) -> Submission:
    found = parsed(raw)
    assert isinstance(found, Submission), found
    return found


def refused(raw: bytes) -> Rejection:
    found = parsed(raw)
    assert isinstance(found, Rejection), found
    return found


def options(**document: Any) -> Options | None:
    return submitted(json.dumps({"asset_id": "a1", **document}).encode()).options


def reason(**document: Any) -> str:
    return refused(json.dumps({"asset_id": "a1", **document}).encode()).reason


def nested(levels: int) -> bytes:
    """Metadata of so many levels, itself the first."""
    return b'{"asset_id":"a1","metadata":' + b'{"a":' * (levels - 1) + b"{}" + b"}" * levels


# What a line may be


@pytest.mark.parametrize(
    ("raw", "asset_id"),
    [
        pytest.param(b"6298d673f1090f1100476d4c", "6298d673f1090f1100476d4c", id="a bare ID"),
        pytest.param(b"a", "a", id="one character"),
        pytest.param(b"Az09_-" * 10 + b"1234", "Az09_-" * 10 + "1234", id="64 characters of every kind"),
        pytest.param(b"--", "--", id="dashes only"),
        pytest.param(b"a1\r", "a1", id="CRLF"),
        pytest.param(b" \t a1 \v\f ", "a1", id="blanks around"),
        pytest.param(BOM + b"a1", "a1", id="a byte-order mark"),
        pytest.param(BOM + b" a1\r", "a1", id="a byte-order mark, a blank and CRLF"),
        pytest.param(b'{"asset_id":"a1"}', "a1", id="an object"),
        pytest.param(b' { "asset_id" : "a1" } \r', "a1", id="an object with blanks"),
        pytest.param(BOM + b'{"asset_id":"a1"}', "a1", id="an object after a byte-order mark"),
        pytest.param(rb'{"asset_id":"\u0061\u0031"}', "a1", id="an escaped ID"),
        pytest.param(b'{"asset_id":"a1","colour":"red"}', "a1", id="an unknown member"),
        pytest.param(b'{"asset_id":"a1","m":[{"a":1},{"a":1}]}', "a1", id="a key in two objects"),
        pytest.param(b'{"asset_id":"a1","wait_for":{},"metadata":null,"deadline":null}', "a1", id="nothing asked"),
    ],
)
def test_a_line_that_names_an_asset_is_a_submission(raw: bytes, asset_id: str):
    assert parsed(raw) == Submission(asset_id, "stdin", 7, None)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\r", id="empty with CRLF"),
        pytest.param(b" \t\v\f ", id="blanks"),
        pytest.param(BOM, id="a byte-order mark alone"),
        pytest.param(b"# a1", id="a comment"),
        pytest.param(b"#", id="an empty comment"),
        pytest.param(b"  # indented", id="an indented comment"),
        pytest.param(BOM + b"# a1\r", id="a comment after a byte-order mark"),
        pytest.param(b"# \xff\x00 anything", id="a comment that is no text"),
        pytest.param(b"#" * LINE_BYTES_LIMIT, id="a comment as long as a line may be"),
    ],
)
def test_blank_lines_and_comments_are_skipped(raw: bytes):
    assert parsed(raw) is None


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        pytest.param(b"a" * 65, "1 to 64", id="65 characters"),
        pytest.param(b"a1 b2", "1 to 64", id="two IDs"),
        pytest.param(b"a1,", "1 to 64", id="punctuation"),
        pytest.param(b"a1 # comment", "1 to 64", id="a comment behind an ID"),
        pytest.param(b'"a1"', "1 to 64", id="a JSON string"),
        pytest.param(b"[]", "1 to 64", id="a JSON array"),
        pytest.param(b"null, true", "1 to 64", id="other JSON"),
        pytest.param(b"../../etc/passwd", "1 to 64", id="path traversal"),
        pytest.param(b"..", "1 to 64", id="the parent directory"),
        pytest.param(b"%2e%2e%2f", "1 to 64", id="escaped path traversal"),
        pytest.param(b"a1?x=1", "1 to 64", id="a query string"),
        pytest.param(b"a1\x00", "1 to 64", id="a NUL"),
        pytest.param(b"a\x1b[2J", "1 to 64", id="a terminal's control sequence"),
        pytest.param(b"a1\rb2", "1 to 64", id="a carriage return in the middle"),
        pytest.param(b"a1\x85", "UTF-8", id="a blank of another encoding"),
        pytest.param("a1\u2028".encode(), "1 to 64", id="a Unicode line separator"),
        pytest.param("a\u0661".encode(), "1 to 64", id="an Arabic digit"),
        pytest.param("\uff21".encode(), "1 to 64", id="a full-width letter"),
        pytest.param(BOM + BOM + b"a1", "1 to 64", id="two byte-order marks"),
        pytest.param(b"\xff\xfb\x00\x01\x80", "UTF-8", id="binary"),
        pytest.param(b"\xc0\xaf", "UTF-8", id="an overlong encoding"),
        pytest.param(b"\xed\xa0\x80", "UTF-8", id="a surrogate"),
        pytest.param(b'{"asset_id":"a\xff"}', "UTF-8", id="binary in an object"),
        pytest.param(b"{", "not JSON", id="a partial object"),
        pytest.param(b'{"asset_id":"a1"}x', "not JSON", id="more after the object"),
        pytest.param(b'{"asset_id":"a1"}{"asset_id":"a2"}', "not JSON", id="two objects"),
        pytest.param(b"{'asset_id':'a1'}", "not JSON", id="Python's quotes"),
        pytest.param(b'{"asset_id":"a1","deadline":NaN}', "not JSON", id="NaN"),
        pytest.param(b'{"asset_id":"a1","deadline":Infinity}', "not JSON", id="Infinity"),
        pytest.param(b'{"asset_id":"a1","deadline":1e999}', "not JSON", id="a number beyond all bounds"),
        pytest.param(b'{"asset_id":"a1","deadline":' + b"9" * 5000 + b"}", "not JSON", id="5,000 digits"),
        pytest.param(rb'{"asset_id":"a1","metadata":{"a":"\ud800"}}', "not JSON", id="an escaped lone surrogate"),
        pytest.param(b'{"asset_id":"a\x01"}', "not JSON", id="a control character in a string"),
        pytest.param(b"{}", "no asset_id", id="an empty object"),
        pytest.param(b'{"asset_id":null}', "no asset_id", id="null for an ID"),
        pytest.param(b'{"ASSET_ID":"a1"}', "no asset_id", id="capitals"),
        pytest.param(b'{"asset_id":5}', "asset_id must", id="a number for an ID"),
        pytest.param(b'{"asset_id":["a1"]}', "asset_id must", id="a list of IDs"),
        pytest.param(b'{"asset_id":""}', "asset_id must", id="an empty ID"),
        pytest.param(b'{"asset_id":" a1"}', "asset_id must", id="a blank in an ID"),
        pytest.param(rb'{"asset_id":"a1\n"}', "asset_id must", id="a newline at an ID's end"),
        pytest.param(rb'{"asset_id":"a1\u0000"}', "asset_id must", id="an escaped NUL"),
        pytest.param(rb'{"asset_id":"\u0661"}', "asset_id must", id="an escaped Arabic digit"),
        pytest.param(b'{"asset_id":"../x"}', "asset_id must", id="path traversal in an object"),
        pytest.param(b'{"asset_id":"a1","metadata":[]}', "metadata must", id="a list for metadata"),
        pytest.param(nested(33), "metadata may nest", id="metadata nested too deeply"),
        pytest.param(nested(900), "metadata may nest", id="metadata that could be decoded and not encoded again"),
        pytest.param(nested(5000), "nest", id="metadata nested beyond the stack of some Pythons"),
        pytest.param(b'{"a":' * 10_000, "nested too deeply", id="an object nested without end"),
    ],
)
def test_any_other_line_is_rejected_with_a_reason(raw: bytes, says: str):
    found = refused(raw)
    assert says in found.reason
    assert (found.origin, found.line, found.raw) == ("stdin", 7, raw)
    assert msgspec.json.decode(rejected(found, at=0.0, source="test").body)["type"].endswith(".rejected")


def test_the_longest_deadline_is_ten_years():
    assert DEADLINE_LIMIT == 315_360_000


def test_a_line_holds_64_kib_at_most():
    """Its carriage return and byte-order mark are not counted."""
    longest = b'{"asset_id":"a1","metadata":{"a":"' + b"x" * (LINE_BYTES_LIMIT - 37) + b'"}}'
    assert len(longest) == LINE_BYTES_LIMIT
    assert submitted(longest).asset_id == "a1"
    assert submitted(BOM + longest + b"\r").asset_id == "a1"
    assert "65536 bytes" in refused(longest.replace(b"xx", b"xxx", 1)).reason


def shown(found: Rejection) -> str:
    line = msgspec.json.decode(rejected(found, at=0.0, source="test").body)["data"]["line"]
    assert isinstance(line, str)
    return line


@pytest.mark.parametrize("size", [1023, 1024, 1025, 60_000])
def test_of_a_rejected_line_over_1_kib_the_first_768_and_the_last_256_bytes_are_shown(size: int):
    line = bytes(33 + number % 90 for number in range(size)).decode()
    assert shown(refused(line.encode())) == (line if size <= 1024 else line[:768] + line[-256:])


def test_of_a_line_over_the_limit_both_ends_are_shown():
    [line] = LineSplitter(0).feed(b"begin" + b"-" * 10**6 + b"end\n")
    found = parse(line, number=7, origin="stdin", stream="run")
    assert isinstance(found, Rejection)
    assert shown(found) == "begin" + "-" * 763 + "-" * 253 + "end"


def test_a_rejected_line_is_cut_between_characters():
    """Nor do two halves of characters at the cut make another one."""
    assert shown(refused("é".encode() * 600)) == "é" * 512
    assert shown(refused(b"!" + "é".encode() * 600)) == "!" + "é" * 383 + "é" * 128
    assert shown(refused("é".encode() * 600 + b"!")) == "é" * 384 + "é" * 127 + "!"
    assert shown(refused(b"!" + "é".encode() * 600 + b"!")) == "!" + "é" * 383 + "é" * 127 + "!"
    assert shown(refused(b"!" + "中".encode() * 600)) == "!" + "中" * 255 + "中" * 85


def test_a_rejections_key_is_the_same_when_read_again_and_unlike_all_others():
    def key(raw: bytes = b"!", *, stream: str = "run", offset: int = 0) -> str:
        return reject(Line(raw, offset, offset + 2), "why", number=1, origin="stdin", stream=stream).key

    assert key() == key()
    others = [key(b"?"), key(stream="other"), key(offset=1), key(stream="\udcff")]
    assert len({key(), *others}) == 5


@pytest.mark.parametrize("raw", [b"a1", b"# comment", b"", b"{"], ids=["an ID", "a comment", "blank", "an object"])
def test_a_line_that_is_too_long_is_rejected_whatever_it_begins_with(raw: bytes):
    found = parse(Line(raw, 100, 70_000, tail=b"end"), number=7, origin="stdin", stream="run")
    assert isinstance(found, Rejection)
    assert (found.reason, found.line, found.raw, found.tail) == ("a line holds 65536 bytes at most", 7, raw, b"end")


def test_lines_are_numbered_from_the_first_and_those_that_hold_nothing_count():
    lines = [Line(raw, 0, 1) for raw in (b"a1", b"", b"../bad", b"# comment", b"a2")]
    found = parse_lines(lines, first=10, origin="stdin", stream="run")
    assert [(each.asset_id, each.line) for each in found.submissions] == [("a1", 10), ("a2", 14)]
    assert [(each.raw, each.line) for each in found.rejections] == [(b"../bad", 12)]


# Duplicate keys, UTF-16, and lines that have no newline


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        pytest.param(b'{"asset_id":"b","asset_id":"a1"}', '"asset_id"', id="the ID"),
        pytest.param(b'{"asset_id":"a1","asset_id":"a1"}', '"asset_id"', id="twice the same value"),
        pytest.param(rb'{"asset_id":"b","\u0061sset_id":"a1"}', '"asset_id"', id="one of them escaped"),
        pytest.param(b'{"asset_id":"a1","deadline":1,"deadline":2}', '"deadline"', id="the deadline"),
        pytest.param(b'{"asset_id":"a1","x":1,"y":2,"x":3}', '"x"', id="a key that is ignored"),
        pytest.param(b'{"asset_id":"a1","wait_for":{"hls":"ignore","hls":"required"}}', '"hls"', id="in wait_for"),
        pytest.param(b'{"asset_id":"a1","metadata":{"a":[{"b":1,"b":2}]}}', '"b"', id="within metadata"),
        pytest.param('{"asset_id":"a1","é":1,"é":2}'.encode(), '"é"', id="not ASCII"),
        pytest.param(b'{"asset_id":"a1","%b":1,"%b":2}' % (b"k" * 99, b"k" * 99), "a long one", id="a long key"),
    ],
)
def test_an_object_with_a_repeated_key_is_rejected_and_the_reason_names_it(raw: bytes, key: str):
    reason = refused(raw).reason
    assert "more than once" in reason
    assert key in reason


@pytest.mark.parametrize("number", [b"1e999999", b"-0", b"1.5", b"1" * 4000])
def test_numbers_are_no_matter_to_the_search_for_repeated_keys(number: bytes):
    refused(b'{"asset_id":"a1","n":' + number + b',"n":1}')


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["a1b2\r\n# c\r\n\r\nb2\r\n", '{"asset_id":"a1"}\nb2'])
def test_a_line_of_utf_16_is_rejected_with_a_reason_that_names_it(encoding: str, text: str):
    """PowerShell's `>` writes it. Blank lines and comments are skipped as ever."""
    splitter = LineSplitter(0)
    lines = [*splitter.feed(text.encode(encoding)), *splitter.finish()]
    found = parse_lines(lines, first=1, origin="stdin", stream="run")
    assert (found.submissions, found.zeros) == ([], [])
    assert ["UTF-16" in each.reason and "UTF-8" in each.reason for each in found.rejections] == [True, True]
    assert [each.raw.decode() for each in found.rejections] == [each for each in text.split() if each not in {"#", "c"}]


def test_a_byte_order_mark_of_utf_16_is_enough():
    assert "UTF-16" in refused("\ufeff\u4e2d\u6587".encode("utf-16-le")).reason


ID = b"6298d673f1090f1100476d4c"


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        pytest.param(ID, True, id="24 hexadecimal digits"),
        pytest.param(ID[:23], False, id="23 hexadecimal digits"),
        pytest.param(ID[:23] + b" \r", False, id="23 digits and blanks"),
        pytest.param(BOM + ID[:5], False, id="a mark and 5 digits"),
        pytest.param(b"A", False, id="one digit"),
        pytest.param(ID + b"0", True, id="25 hexadecimal digits"),
        pytest.param(b"asset-1", True, id="an ID of another form"),
        pytest.param(b'{"asset_id":"a1"}', True, id="a whole object"),
        pytest.param(b'{"asset_id":"a1"', False, id="half an object"),
        pytest.param(b"../bad", False, id="no ID at all"),
    ],
)
def test_the_end_of_the_input_ends_a_line_unless_it_looks_like_a_part_of_an_id(text: bytes, is_taken: bool):
    found = parse(Line(text, 0, 99, unterminated=True), number=1, origin="stdin", stream="run")
    assert isinstance(found, Submission) is is_taken
    if isinstance(found, Rejection) and b"{" not in text and b"." not in text:
        assert "incomplete" in found.reason


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        pytest.param(ID, True, id="a whole ID, whose newline alone is lost"),
        pytest.param(b'{"asset_id":"a1"}', True, id="a whole object"),
        pytest.param(ID[:20], False, id="a part of an ID"),
        pytest.param(ID + b"0", False, id="too many digits"),
        pytest.param(b"asset-1", False, id="an ID that may go on"),
        pytest.param(b'{"asset_id":"a1","met', False, id="a part of an object"),
    ],
)
def test_zeros_end_a_line_that_is_whole_for_certain_and_others_are_incomplete(text: bytes, is_taken: bool):
    found = parse(Line(text, 0, 99, zeros=9), number=1, origin="stdin", stream="run")
    assert isinstance(found, Submission) is is_taken
    if isinstance(found, Rejection):
        assert "incomplete" in found.reason


@pytest.mark.parametrize("text", [b"", b" ", b"# comment"])
@pytest.mark.parametrize("line", [Line(b"", 0, 9, zeros=9), Line(b"", 0, 9, unterminated=True)])
def test_blanks_and_comments_may_end_anyhow(text: bytes, line: Line):
    assert parse(msgspec.structs.replace(line, raw=text), number=1, origin="stdin", stream="run") is None


def test_zeros_are_reported_with_the_line_behind_them():
    lines = [Line(b"a1", 0, 3), Line(b"", 3, 12, zeros=9), Line(b"x" + ID[:9], 12, 30, zeros=8), Line(b"a3", 30, 33)]
    found = parse_lines(lines, first=4, origin="stdin", stream="run")
    assert [(each.asset_id, each.line) for each in found.submissions] == [("a1", 4), ("a3", 5)]
    assert [(each.raw, each.line) for each in found.rejections] == [(b"x" + ID[:9], 5)]
    assert found.zeros == [Zeros("stdin", 5, 9, 12), Zeros("stdin", 5, 8, 30)]


def test_a_rejections_key_is_that_of_earlier_versions():
    """A line that is read again after an upgrade makes the same event."""
    found = reject(Line(b"../bad", 40, 47), "why", number=3, origin="file:/q", stream="1:2")
    assert found.key == "1284e17d2a94d12fcea27ec6"


# What an object may ask


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param({"metadata": {"k": [1, {"b": None}]}}, Options(metadata={"k": [1, {"b": None}]}), id="metadata"),
        pytest.param({"metadata": {}}, Options(metadata={}), id="empty metadata"),
        pytest.param({"metadata": {"n": 2**80}}, Options(metadata={"n": 2**80}), id="an integer of 80 bits"),
        pytest.param({"wait_for": {"hls": "required"}}, Options(wait_for={"hls": WaitFor.REQUIRED}), id="HLS required"),
        pytest.param(
            {"wait_for": {"hls": "ignore", "thumbnail": "if_requested"}},
            Options(wait_for={"hls": WaitFor.IGNORE, "thumbnail": WaitFor.IF_REQUESTED}),
            id="both renditions",
        ),
        pytest.param({"deadline": 600}, Options(deadline=600.0), id="a deadline"),
        pytest.param({"deadline": 0.5}, Options(deadline=0.5), id="a fraction of a second"),
        pytest.param({"deadline": DEADLINE_LIMIT}, Options(deadline=DEADLINE_LIMIT), id="ten years"),
        pytest.param({"deadline": "10m"}, Options(deadline=600.0), id="a deadline in minutes"),
        pytest.param({"deadline": "1h30m"}, Options(deadline=5400.0), id="a deadline in two units"),
        pytest.param({"deadline": "3650d"}, Options(deadline=DEADLINE_LIMIT), id="ten years in days"),
        pytest.param({"not_found_grace": 90}, Options(not_found_grace=90.0), id="a grace of its own"),
        pytest.param({"not_found_grace": "1d"}, Options(not_found_grace=86400.0), id="a grace in days"),
        pytest.param({"not_found_grace": "500ms"}, Options(not_found_grace=0.5), id="a short grace"),
        pytest.param({"not_found_grace": "7d"}, Options(not_found_grace=604800.0), id="the longest grace"),
        pytest.param({"traceparent": f"00-{TRACE}"}, Options(traceparent=f"00-{TRACE}"), id="traceparent"),
        pytest.param({"traceparent": f"01-{TRACE}-x"}, Options(traceparent=f"01-{TRACE}-x"), id="of a later version"),
    ],
)
def test_an_object_may_ask_for_more(document: dict[str, Any], expected: Options):
    assert options(**document) == expected


@pytest.mark.parametrize(
    "wait_for",
    [[], "required", 1, {"hls": "Required"}, {"hls": None}, {"hls": []}, {"hls": {}}, {"video": "required"}],
    ids=json.dumps,
)
def test_wait_for_takes_known_renditions_and_choices_only(wait_for: Any):
    assert "wait_for" in reason(wait_for=wait_for)


DURATIONS = {
    "deadline": "deadline must be more than 0 seconds, and at most ten years",
    "not_found_grace": "not_found_grace must be more than 0 seconds, and at most seven days",
}


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize("value", [0, -1, 10**9, 10**30, 1e300, -1e300, "0s", "0.0h", "99999d"], ids=json.dumps)
def test_a_duration_has_bounds_that_its_rejection_names(key: str, value: Any):
    assert reason(**{key: value}) == DURATIONS[key]


def test_the_longest_grace_is_seven_days():
    assert reason(not_found_grace=604_801) == reason(not_found_grace="7d1s") == DURATIONS["not_found_grace"]


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize(
    "value", [True, "600", "", "10 minutes", "-1s", "1m1h", "1w", "1e3s", [600], {}], ids=json.dumps
)
def test_a_duration_is_a_number_of_seconds_or_text_with_units(key: str, value: Any):
    words = 'a number of seconds, or text with units, such as "90s", "10m" or "1h30m"'
    assert reason(**{key: value}) == f"{key} must be {words}"


@pytest.mark.parametrize("key", DURATIONS)
@given(st.integers(0, 6), st.integers(0, 23), st.integers(0, 59))
def test_text_with_units_is_the_same_as_its_seconds(key: str, days: int, hours: int, minutes: int):
    text, seconds = f"{days}d{hours}h{minutes}m", days * 86400 + hours * 3600 + minutes * 60
    assume(seconds > 0)
    assert options(**{key: text}) == options(**{key: seconds})


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        5,
        {},
        f"ff-{TRACE}",
        f"00-{TRACE}-more",
        f"00-{TRACE}\n",
        f"01-{TRACE}-\u0000",
        f"01-{TRACE}x",
        f"00-{TRACE}".upper(),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    ],
)
def test_a_traceparent_that_is_none_is_ignored(traceparent: Any):
    """W3C Trace Context: a receiver goes on without it."""
    assert options(traceparent=traceparent) is None


def test_metadata_nests_up_to_the_limit():
    assert submitted(nested(32)).options is not None


# Nothing that a line holds may do more than be rejected

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "asset_id": st.sampled_from(["a1", "../a", "", 5, None]) | JSON,
        "metadata": st.dictionaries(st.text(), JSON, max_size=4) | JSON,
        "wait_for": st.dictionaries(st.sampled_from(["hls", "thumbnail"]), st.sampled_from([*WaitFor, "x"]) | JSON)
        | JSON,
        "deadline": st.integers() | st.floats() | JSON,
        "not_found_grace": st.from_regex(DURATION_PATTERN) | st.floats() | JSON,
        "traceparent": st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?") | JSON,
    },
)


def is_harmless(raw: bytes) -> None:
    """Whatever comes out has a proper ID and can be kept and sent, or is a rejection that can."""
    match parsed(raw):
        case None:
            text = raw.replace(b"\0", b"").strip(b" \t\r\n\v\f")
            assert b"#" in raw or not text.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n\v\f")
        case Submission() as submission:
            assert ASSET_ID.fullmatch(submission.asset_id)
            assert submission.asset_id.isascii()
            if submission.options is not None:
                kept = msgspec.json.encode(submission.options)
                assert msgspec.json.decode(kept, type=Options) == submission.options
        case Rejection() as found:
            assert found.reason
            msgspec.json.decode(rejected(found, at=0.0, source="test").body)


@given(st.binary() | st.text().map(str.encode))
@example(b"\x0b")
def test_any_bytes_are_harmless(raw: bytes):
    is_harmless(raw)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_within_an_object_are_harmless(left: bytes, right: bytes):
    is_harmless(b'{"asset_id":"a1",' + left + b'"metadata":{"a":' + right + b"}}")


@given(MEMBERS | JSON, st.booleans())
def test_any_json_is_harmless(document: Any, ascii_only: bool):
    """NaN and lone surrogates too, which Python writes and JSON has not."""
    is_harmless(json.dumps(document, ensure_ascii=ascii_only).encode(errors="surrogatepass"))


@given(st.integers(0, 2000), st.sampled_from([b"[", b'{"a":', b'[{"a":']))
def test_any_depth_is_harmless(depth: int, opening: bytes):
    closing = opening.replace(b'"a":', b"").translate(bytes.maketrans(b"[{", b"]}"))[::-1]
    is_harmless(b'{"asset_id":"a1","metadata":{"a":' + opening * depth + b"1" + closing * depth + b"}}")
