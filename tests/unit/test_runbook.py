"""The runbook has a section for each problem, written to one plan."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from asset_worker.telemetry.problems import Reason

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
PARTS = ["What it means", "How to confirm", "What to do"]
ALERT = re.compile(r"AssetWorker\w+")


def sections_of(heading: str) -> list[tuple[str, str]]:
    """The heading and the text of each section below a heading of the second level."""
    below = RUNBOOK.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [(title, text) for title, _, text in (each.partition("\n") for each in below.split("\n### ")[1:])]


def test_each_reason_of_a_problem_has_one_section():
    assert [title for title, _ in sections_of("Problems")] == [each.value for each in Reason]


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


def test_the_table_of_problems_leads_to_each_section():
    rows = re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\) \|", RUNBOOK, re.MULTILINE)
    assert rows == [(each.value, each.value) for each in Reason]
