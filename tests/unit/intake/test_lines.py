"""Lines to submissions: every rule of the queue line, and hostile lines."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asset_worker.domain.assets import ASSET_ID, WaitFor
from asset_worker.domain.events import rejected
from asset_worker.domain.submissions import RAW_BYTES_KEPT, RAW_BYTES_LIMIT, Options, Rejection, Submission
from asset_worker.intake.lines import DEADLINE_LIMIT, parse, parse_lines, reject
from asset_worker.intake.splitter import LINE_BYTES_LIMIT, Line

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
        pytest.param(b'{"asset_id":"b","asset_id":"a1"}', "a1", id="of duplicate members the last"),
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
        pytest.param("a1".encode("utf-16"), "UTF-8", id="UTF-16"),
        pytest.param(b"\xff\xfe\x00\x01\x80", "UTF-8", id="binary"),
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
    assert (found.origin, found.line, found.raw) == ("stdin", 7, raw[:RAW_BYTES_KEPT])
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


@pytest.mark.parametrize("size", [RAW_BYTES_LIMIT - 1, RAW_BYTES_LIMIT + 1, 60_000])
def test_a_rejected_line_is_shown_up_to_1_kib(size: int):
    event = msgspec.json.decode(rejected(refused(b"!" * size), at=0.0, source="test").body)
    assert event["data"]["line"] == "!" * min(size, 1024)


def test_a_rejected_line_cut_within_a_character_still_makes_an_event():
    found = refused("é".encode() * 600 + b"!")
    data = msgspec.json.decode(rejected(found, at=0.0, source="test").body)["data"]
    assert data["line"] == "é" * 512
    cut = refused(b"!" + "é".encode() * 600)
    assert msgspec.json.decode(rejected(cut, at=0.0, source="test").body)["data"]["line"] == "!" + "é" * 511


def test_a_rejections_key_is_the_same_when_read_again_and_unlike_all_others():
    def key(raw: bytes = b"!", *, stream: str = "run", offset: int = 0) -> str:
        return reject(Line(raw, offset, offset + 2), "why", number=1, origin="stdin", stream=stream).key

    assert key() == key()
    others = [key(b"?"), key(stream="other"), key(offset=1), key(stream="\udcff")]
    assert len({key(), *others}) == 5


@pytest.mark.parametrize("raw", [b"a1", b"# comment", b"", b"{"], ids=["an ID", "a comment", "blank", "an object"])
def test_a_line_that_is_too_long_is_rejected_whatever_it_begins_with(raw: bytes):
    found = parse(Line(raw, 100, 70_000, too_long=True), number=7, origin="stdin", stream="run")
    assert isinstance(found, Rejection)
    assert (found.reason, found.line, found.raw) == ("a line holds 65536 bytes at most", 7, raw)


def test_lines_are_numbered_from_the_first_and_those_that_hold_nothing_count():
    lines = [Line(raw, 0, 1) for raw in (b"a1", b"", b"../bad", b"# comment", b"a2")]
    submissions, rejections = parse_lines(lines, first=10, origin="stdin", stream="run")
    assert [(each.asset_id, each.line) for each in submissions] == [("a1", 10), ("a2", 14)]
    assert [(each.raw, each.line) for each in rejections] == [(b"../bad", 12)]


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


@pytest.mark.parametrize("deadline", [0, -1, True, "600", [600], {}, 10**9, 10**30, 1e300, -1e300], ids=json.dumps)
def test_a_deadline_is_a_positive_number_of_seconds_of_ten_years_at_most(deadline: Any):
    assert "deadline" in reason(deadline=deadline)


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
        "traceparent": st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?") | JSON,
    },
)


def is_harmless(raw: bytes) -> None:
    """Whatever comes out has a proper ID and can be kept and sent, or is a rejection that can."""
    match parsed(raw):
        case None:
            assert not raw.strip(b" \t\r\n\v\f").removeprefix(BOM).strip() or b"#" in raw
        case Submission() as submission:
            assert ASSET_ID.fullmatch(submission.asset_id)
            assert submission.asset_id.isascii()
            if submission.options is not None:
                kept = msgspec.json.encode(submission.options)
                assert msgspec.json.decode(kept, type=Options) == submission.options
        case Rejection() as found:
            assert found.reason
            assert len(found.raw) <= RAW_BYTES_KEPT
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
