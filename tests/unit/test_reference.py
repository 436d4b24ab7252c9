"""The reference page and the pictures of screens are generated from the code, and up to date."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from asset_worker.cli import COMMANDS
from asset_worker.settings.tree import known_keys
from asset_worker.telemetry.events import EVENTS
from asset_worker.telemetry.page.rendering import read
from asset_worker.telemetry.page.view import view_of

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date():
    """Else: `make reference`."""
    assert runpy.run_path(str(DOCS / "generate_reference.py"))["reference"]() == PAGE


def test_the_runbook_at_the_admin_port_is_up_to_date():
    """Else: `make reference`."""
    made = runpy.run_path(str(DOCS / "generate_runbook.py"))["page"]((DOCS / "runbook.md").read_text(encoding="utf-8"))
    assert read("runbook.html").decode() == made


def test_the_pictures_are_up_to_date():
    """Else: `make reference`."""
    drawn = dict(runpy.run_path(str(DOCS / "generate_screens.py"))["pictures"]())
    assert {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "screens").iterdir()} == drawn


def test_the_page_has_every_command_setting_and_event():
    names = [*COMMANDS, *(f"`{key}`" for key in known_keys()), *(f"`{event.name}`" for event in EVENTS)]
    assert [name for name in names if name not in PAGE] == []


def test_every_row_of_a_table_has_the_cells_of_its_head():
    for table in re.findall(r"(?:^\|.*\|\n)+", PAGE, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_the_links_at_the_top_lead_somewhere():
    for anchor in re.findall(r"\]\(#([a-z-]+)\)", PAGE):
        assert re.search(rf"^## {anchor.replace('-', ' ')}$", PAGE, re.MULTILINE | re.IGNORECASE)


def test_the_page_of_the_pictures_can_be_made():
    """The pictures themselves differ with the fonts of a machine."""
    facts = runpy.run_path(str(DOCS / "generate_page_pictures.py"))["facts"]()
    assert view_of(facts).headline == "1 problem"
    assert all((DOCS / "page" / f"{name}.png").stat().st_size < 250_000 for name in ("light", "dark", "phone"))
