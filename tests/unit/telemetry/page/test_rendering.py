"""The template: every value is escaped, whatever it is, and secrets are redacted."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asset_worker.runtime.redaction import REDACTED, Secrets
from asset_worker.telemetry.page import rendering
from asset_worker.telemetry.page.rendering import make_renderer
from asset_worker.telemetry.page.view import view_of
from tests.doubles.facts import NOW, facts, facts_saying, finished

FOLDER = Path(rendering.__file__).parent
RENDER = make_renderer(lambda value: value)


class Markup(HTMLParser):
    """The tags of a page with the names of their attributes, and its texts and values."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, ...]] = []
        self.texts: list[str] = []
        self.values: dict[str, list[str]] = {}
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, *(name for name, _ in attrs)))
        for name, value in attrs:
            self.values.setdefault(name, []).append(value or "")

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}",))

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        self.tags.append(("comment",))


def markup(text: str) -> Markup:
    return Markup(RENDER(view_of(facts_saying(text))))


PLAIN = markup("harmless")


@given(st.text(min_size=1, max_size=40).filter(str.strip))
@example("<script>alert(1)</script>")
@example("</title><script>alert(1)</script>")
@example('"><img src=x onerror=alert(1)>')
@example("' onmouseover='alert(1)")
@example("{{ 7 * 7 }}{% raw %}")
@example("<!-- --> ]]> &lt;&#60;")
@example("javascript:alert(1)")
def test_the_markup_is_the_same_whatever_the_values_are(text):
    found = markup(text)
    assert found.tags == PLAIN.tags
    assert found.values["href"][-1] == PLAIN.values["href"][-1] == "https://cdn.example/a.jpg"


def test_a_hostile_name_is_shown_as_it_is():
    name = "<b>&amp;'\".mp4"
    assert name in [each.strip() for each in markup(name).texts]


def test_characters_that_change_the_direction_or_control_a_terminal_are_shown_as_escapes():
    texts = "".join(markup("a\u202egpj.exe\x1b[2J").texts)
    assert r"a\u202egpj.exe\x1b[2J" in texts
    assert "\u202e" not in texts


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    page = RENDER(view_of(facts_saying("x"))).decode()
    assert "style" not in PLAIN.values
    assert not [name for name in PLAIN.values if name.startswith("on")]
    assert re.findall(r"<script(?![^>]* src=)", page) == []
    loaded = [*PLAIN.values["src"], *re.findall(r'<link [^>]*href="([^"]*)"', page)]
    assert all(not re.match(r"[a-z]+:|/", each) and (FOLDER / each.removeprefix("page/")).exists() for each in loaded)


def test_links_to_other_sites_send_no_referrer_and_get_no_opener():
    [(link, *_)] = {tuple(re.findall(r"<a [^>]*>", RENDER(view_of(facts_saying("x"))).decode())[-1:])}
    assert 'href="https://cdn.example/a.jpg"' in link
    assert 'rel="noreferrer noopener"' in link


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "http://cdn.example/a", "data:text/html,x", "//cdn.example", "https://a@b.example/", ""],
)
def test_an_address_that_is_not_https_is_no_link(address):
    page = RENDER(view_of(facts_saying("x", address=address))).decode()
    assert [
        each for each in Markup(page.encode()).values["href"] if not each.startswith(("#", "page/", "docs/runbook.md#"))
    ] == []


def test_the_key_is_redacted_wherever_it_is():
    secrets = Secrets()
    secrets.add(key := "tlk_0123456789abcdefSECRET")
    address = f"https://cdn.example/a?key={key}"
    page = make_renderer(secrets.redact)(view_of(facts_saying(f"a {key} b", address=address))).decode()
    assert key not in page
    assert REDACTED in page
    assert "cdn.example" not in page  # a link without its secret leads nowhere


def test_the_language_the_headings_and_the_captions_are_there_for_those_who_do_not_see_the_page():
    assert ("html", "lang", "data-version", "data-refresh") in PLAIN.tags
    assert [tag[0] for tag in PLAIN.tags].count("table") == [tag[0] for tag in PLAIN.tags].count("caption") == 6
    assert [tag[0] for tag in PLAIN.tags].count("h1") == 1
    headings = [int(tag[0][1]) for tag in PLAIN.tags if re.fullmatch("h[1-6]", tag[0])]
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert all("aria-label" in tag for tag in PLAIN.tags if tag[0] == "svg")
    ids = PLAIN.values["id"]
    assert len(ids) == len(set(ids))


def test_a_worker_in_which_nothing_has_happened_has_a_whole_page():
    texts = " ".join(Markup(RENDER(view_of(facts()))).texts)
    for expected in ("All is well", "Nothing is pending.", "Nothing has finished", "The API has not reported a quota."):
        assert expected in texts
    assert "What the schedule has learned" not in texts


def test_a_lone_surrogate_does_not_break_the_page():
    page = view_of(facts())
    assert b"\\udcff" in RENDER(view_of(facts_saying("a\udcff")))
    assert RENDER(page)


def test_the_reason_that_an_anchor_leads_to_is_the_reason_of_the_problem():
    assert [each for each in PLAIN.values["id"] if each.startswith("sink_down")] == ["sink_down", "sink_down-2"]


def test_ten_of_those_that_finished_are_open_and_the_others_are_folded():
    many = [finished(f"a{number}", at=NOW - number) for number in range(50)]
    page = RENDER(view_of(msgspec.structs.replace(facts(), finished=many))).decode()
    before, _, after = page.partition('<details id="earlier">')
    assert (before.count("<code>a"), after.count("<code>a")) == (10, 40)
