"""The runbook has a section for each problem, written to one plan."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import msgspec
import pytest

from asset_worker.telemetry.events import EVENTS
from asset_worker.telemetry.page.endpoints import PATHS
from asset_worker.telemetry.page.rendering import read
from asset_worker.telemetry.problems import SINK_REASONS, Reason
from asset_worker.telemetry.runbook import EVENTS_WITH_SECTION, REASONS, reason_of

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
PARTS = ["What it means", "How to confirm", "What to do"]
FIELDS = {event.name: event.fields for event in EVENTS}
ALERT = re.compile(r"AssetWorker\w+")


GENERATOR = runpy.run_path(str(ROOT / "docs" / "generate_runbook.py"))
LINK = re.compile(r'<a href="([^"]*)">')


def sections_of(heading: str) -> list[tuple[str, str]]:
    """The heading and the text of each section below a heading of the second level."""
    below = RUNBOOK.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [(title, text) for title, _, text in (each.partition("\n") for each in below.split("\n### ")[1:])]


def test_each_reason_of_a_problem_has_one_section():
    assert [title for title, _ in sections_of("Problems")] == [each.value for each in Reason]


def test_each_reason_links_to_its_section():
    """The heading is the anchor: it has nothing that code hosts change."""
    assert [each.runbook for each in Reason] == [f"docs/runbook.md#{title}" for title, _ in sections_of("Problems")]
    assert all(re.fullmatch(r"[a-z_]+", title) for title, _ in sections_of("Problems"))


def test_each_problem_has_a_line_in_the_log_that_links_to_its_section():
    assert {*REASONS.values(), *SINK_REASONS.values()} == set(Reason)
    levels = {event.name: event.level for event in EVENTS}
    assert {levels[name] for name in EVENTS_WITH_SECTION} == {"warning", "error"}


def test_there_is_no_section_but_for_a_reason_or_an_alert():
    below_others = RUNBOOK.count("\n### ") - len(sections_of("Problems")) - len(sections_of("Alerts"))
    assert below_others == 0
    assert [title for title, _ in sections_of("Alerts") if not ALERT.fullmatch(title)] == []


@pytest.mark.parametrize(
    "text",
    [pytest.param(text, id=title) for heading in ("Problems", "Alerts") for title, text in sections_of(heading)],
)
def test_a_section_says_what_it_means_how_to_confirm_it_and_what_to_do_in_that_order(text):
    assert re.findall(r"^\*\*(.+?)\*\*$", text, re.MULTILINE) == PARTS
    meaning, confirmation, steps = re.split(r"^\*\*.+\*\*$", text, flags=re.MULTILINE)[1:]
    assert meaning.strip()
    assert "```console" in confirmation
    assert re.search(r"^1\. ", steps, re.MULTILINE)


def test_each_problems_section_says_what_readyz_answers_and_when_it_is_over():
    for title, text in sections_of("Problems"):
        assert re.search(r"`/readyz` (is|stays) (200|503)", text), title
        assert "\nIt is over when " in text, title


def log_lines_of(text):
    return [msgspec.json.decode(line) for line in re.findall(r'^\{.*"event":.*\}$', text, re.MULTILINE)]


def test_each_problems_section_shows_its_line_of_the_log():
    for title, text in sections_of("Problems"):
        assert {reason and reason.value for reason in map(reason_of, log_lines_of(text))} == {title}


def test_each_line_of_the_log_has_the_fields_that_the_program_writes():
    for line in log_lines_of(RUNBOOK):
        reason = reason_of(line)
        assert line.get("runbook") == (reason and reason.runbook), line
        assert line.keys() - {"event", "level", "timestamp", "runbook"} <= set(FIELDS[line["event"]])


def test_the_table_of_problems_leads_to_each_section():
    rows = re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\) \|", RUNBOOK, re.MULTILINE)
    assert rows == [(each.value, each.value) for each in Reason]


def test_the_page_has_an_anchor_for_each_section_and_for_each_of_its_links():
    shown = read("runbook.html").decode()
    anchors = re.findall(r' id="([^"]*)"', shown)
    assert len(set(anchors)) == len(anchors)
    titles = [title for heading in ("Problems", "Alerts") for title, _ in sections_of(heading)]
    assert {title.lower() for title in titles} <= set(anchors)
    links = LINK.findall(shown)
    assert set(links) - {f"#{anchor}" for anchor in anchors} == {"../"}  # and nothing that the port does not serve


def test_the_page_shows_markup_and_links_to_other_documents_as_text():
    made = GENERATOR["page"](
        "## A `title`, & more\n\n<script>alert(1)</script> [there](#a-title--more) [a *doc*](operations.md) "
        "[site](https://a.example)\n\n| `a` | b |\n|---|---|\n| <b>1</b> | 2 |\n"
    )
    assert '<h2 id="a-title--more">A <code>title</code>, &amp; more</h2>' in made
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made
    assert "a <em>doc</em> site</p>" in made
    assert LINK.findall(made) == ["../", "#a-title--more"]
    assert '<td role="cell" data-label="a">&lt;b&gt;1&lt;/b&gt;</td>' in made
    assert '<td role="cell" data-label="b">2</td>' in made


def test_the_page_can_be_shown_under_the_policy_of_the_admin_port():
    """No script, no style of its own, nothing from elsewhere."""
    shown = read("runbook.html").decode()
    tags = re.findall(r"<(\w+)([^>]*)>", shown)
    attributes = {name for _, text in tags for name in re.findall(r" ([\w-]+)=", re.sub(r'"[^"]*"', "", text))}
    assert {name for name, _ in tags}.isdisjoint({"script", "style", "img", "iframe", "object", "form", "base"})
    assert attributes <= {
        "charset",
        "class",
        "content",
        "data-label",
        "href",
        "id",
        "lang",
        "name",
        "rel",
        "role",
        "type",
    }
    assert set(re.findall(r'<link [^>]*href="([^"]*)"', shown)) <= {f"..{path}" for path in PATHS}
