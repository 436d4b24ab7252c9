"""The documents are true: what they link to and name exists, and what they show can be run."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from asset_worker.domain.assets import Outcome
from asset_worker.domain.run_plan import Exit
from asset_worker.domain.submissions import Submission
from asset_worker.domain.transitions import Transition
from asset_worker.intake.lines import parse
from asset_worker.intake.splitter import Line
from asset_worker.settings.loading import load
from asset_worker.settings.tree import known_keys
from tests.bench import report
from tests.unit import command_lines

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "worker" / "asset_worker"
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [
    README,
    *DOCS,
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    ROOT / "deploy" / "README.md",
]

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
SETTING_OR_EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
FILE_SUFFIXES = {"py", "md", "toml", "json", "yaml", "yml", "lock", "jsonl", "txt", "sqlite3", "msgpack", "old"}


class Link(NamedTuple):
    """A link as it is written in a document."""

    target: str
    is_image: bool


class Block(NamedTuple):
    """A block of code in a document."""

    language: str
    text: str


@cache
def text_of(document: Path) -> str:
    return document.read_text()


def prose_of(document: Path) -> str:
    """The document without its blocks of code."""
    return FENCE.sub("", text_of(document))


def blocks_of(document: Path, language: str) -> list[str]:
    return [
        block.text
        for block in (Block(*found) for found in FENCE.findall(text_of(document)))
        if block.language == language
    ]


def links_of(document: Path) -> list[Link]:
    return [Link(target, is_image=bool(mark)) for mark, target in LINK.findall(prose_of(document))]


def anchors_of(document: Path) -> set[str]:
    """The anchors of its headings, as the common forges make them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table_of(document: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    below = text_of(document).split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in below.splitlines() if line.startswith("|")]
    return rows[2:]


def each_document(documents=DOCUMENTS):
    return pytest.mark.parametrize("document", documents, ids=lambda path: path.name)


@each_document()
def test_what_a_document_links_to_is_there(document):
    """Files and anchors; addresses of other sites are not asked for."""
    for link in links_of(document):
        if link.target.startswith("https://"):
            continue
        path, _, anchor = link.target.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target), link


@each_document()
def test_the_files_that_a_document_names_are_there(document):
    """A name in backticks that looks like a path in the repository or in the package, or like a module."""
    for name in CODE.findall(prose_of(document)):
        if is_repository_path(name):
            is_module = "/" not in name and any(PACKAGE.rglob(name))
            assert is_module or any((base / name).exists() for base in (ROOT, PACKAGE)), name


def is_repository_path(name: str) -> bool:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", name):
        return False
    first, slash, _ = name.partition("/")
    if slash:
        return (ROOT / first).is_dir() or (PACKAGE / first).is_dir()
    return name.endswith((".py", ".lock", ".md")) and name != "worker.py"


@each_document()
def test_the_settings_and_log_events_that_a_document_names_exist(document):
    sections = {key.split(".")[0] for key in known_keys()}
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    parts = set(re.findall(r'"([a-z]+)\.[a-z_]+"', source)) | sections
    for name in CODE.findall(prose_of(document)):
        part, _, rest = name.partition(".")
        if not SETTING_OR_EVENT.fullmatch(name) or part not in parts or rest in FILE_SUFFIXES:
            continue
        # The events of `intake` have the names of what happened to the file.
        is_event = f'"{name}"' in source or (part == "intake" and f'"{rest}"' in source)
        assert name in set(known_keys()) or is_event, name


@each_document()
def test_the_commands_that_a_document_shows_are_ones_that_the_program_has(document):
    """Every `asset-worker …` in a block for the console, with its options and values; and every make target."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in blocks_of(document, "console"):
        for line in re.findall(r"^ *\$ (.+)$", block.replace("\\\n", ""), re.MULTILINE):
            for arguments in command_lines.command_lines(line):
                try:
                    command_lines.check(arguments)
                except click.UsageError as error:
                    pytest.fail(f"{line}: {error.format_message()}")
            for target in re.findall(r"\bmake ([a-z-]+)", line):
                assert target in targets, line


@each_document()
def test_the_make_targets_that_a_document_names_exist(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", prose_of(document))) <= targets


@each_document()
def test_the_settings_that_a_document_shows_are_good(document, tmp_path):
    for block in blocks_of(document, "toml"):
        (tmp_path / "worker.toml").write_text(block)
        load(config=tmp_path / "worker.toml", environ={}, overrides={})


@each_document()
def test_the_python_that_a_document_shows_can_be_compiled(document):
    for block in blocks_of(document, "python"):
        compile(block, document.name, "exec")


@each_document()
def test_the_json_that_a_document_shows_is_json_and_its_queue_lines_are_submissions(document):
    for block in blocks_of(document, "json"):
        shown = json.loads(block)
        if "specversion" not in shown:
            raw = block.strip().encode()
            found = parse(Line(raw, 0, len(raw)), number=1, origin="document", stream="document")
            assert isinstance(found, Submission), block


def test_all_events_that_are_shown_have_the_same_fields():
    """The README's and those in events.md: a completion, which is a real one, and a step."""
    [short] = [json.loads(block) for block in blocks_of(README, "json")]
    whole = [
        shown for block in blocks_of(ROOT / "docs/events.md", "json") if "specversion" in (shown := json.loads(block))
    ]
    assert [(list(each), list(each["data"])) for each in whole] == 2 * [(list(short), list(short["data"]))]


def test_the_table_of_steps_has_them_all():
    rows = table_of(ROOT / "docs/events.md", "Earlier news: the steps before the outcome")
    assert [row[0].strip("`") for row in rows] == [each.value for each in Transition]


@pytest.mark.parametrize(
    ("document", "heading"), [(README, "Events"), (ROOT / "docs/events.md", "Outcomes")], ids=["README", "events"]
)
def test_the_table_of_outcomes_has_them_all(document, heading):
    assert [row[0].strip("`") for row in table_of(document, heading)] == [outcome.value for outcome in Outcome]


def test_the_table_of_exit_codes_has_them_all():
    assert [int(row[0]) for row in table_of(ROOT / "docs/events.md", "Exit codes")] == [code.value for code in Exit]


def test_the_readme_is_short():
    """At most 150 lines and 900 words, as `wc` counts them."""
    assert text_of(README).count("\n") <= 150
    assert len(text_of(README).split()) <= 900


def test_the_readme_has_no_image_that_only_the_repository_could_show():
    """A package index shows it, too, where a relative image is a broken one."""
    images = [link.target for link in links_of(README) if link.is_image]
    assert [image for image in images if not image.startswith("https://")] == []


def test_every_page_is_in_the_index():
    linked = {link.target for link in links_of(ROOT / "docs/README.md")}
    assert {page.name for page in DOCS} - {"README.md"} <= linked


def test_the_costs_that_the_documents_show_are_those_that_were_measured():
    """The tables are those that the report makes of the results of `make bench`."""
    found = json.loads(report.RESULTS.read_text())
    for document, heading, made in (
        (README, "What polling costs", report.short_table(found)),
        (ROOT / "docs/polling.md", "What it costs", report.cost_table(found)),
        (ROOT / "docs/webhooks.md", "Measured", report.webhook_table(found)),
        *(
            (ROOT / "docs/fleet-sizing.md", heading.removeprefix("## "), made)
            for heading, made in report.fleet_tables(found).items()
        ),
    ):
        assert [f"| {' | '.join(row)} |" for row in table_of(document, heading)] == made[2:]


def test_the_readmes_bars_are_as_long_as_its_figures():
    [chart] = blocks_of(README, "text")
    costs = {float(row[1]) for row in table_of(README, "What polling costs")}
    bars = re.findall(r"(█+) ([\d.]+)$", chart, re.MULTILINE)
    assert {float(figure) for _, figure in bars} <= costs
    assert [len(bar) for bar, _ in bars] == [round(float(figure)) for _, figure in bars]
