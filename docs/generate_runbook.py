"""Makes HTML of docs/runbook.md, which the admin port serves: the worker itself loads no Markdown.

Run it with `make reference`. A unit test fails when the HTML is not up to date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

SOURCE: Final = Path(__file__).with_name("runbook.md")
PAGE: Final = Path(__file__).parents[1] / "worker" / "asset_worker" / "telemetry" / "page" / "runbook.html"
TEMPLATE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Runbook – asset-worker</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<link rel="icon" type="image/svg+xml" href="../page/well.svg">
<link rel="stylesheet" href="../page/page.css">
</head>
<body class="text">
<nav><a href="../">The status page</a></nav>
<main>
{text}</main>
</body>
</html>
"""
"""The addresses are relative, so that the port may be served below any path."""
ROLES: Final = {
    "table_open": "table",
    "thead_open": "rowgroup",
    "tbody_open": "rowgroup",
    "tr_open": "row",
    "th_open": "columnheader",
    "td_open": "cell",
}
"""On a narrow screen the style sheet shows rows as cards, and browsers would forget that they are a table's."""


def page(text: str) -> str:
    """Return the HTML of a document. Markup in it is shown as text; links to other documents are left out."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = list(_adapted(markdown.parse(text)))
    return TEMPLATE.format(text=markdown.renderer.render(tokens, markdown.options, {}))


def _adapted(tokens: list[Token]) -> Iterator[Token]:
    heads: list[str] = []
    column = 0
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type in ROLES:
            token.attrSet("role", ROLES[token.type])
        match token.type, following:
            case "heading_open", Token(content=title):
                token.attrSet("id", anchor(title))
            case "thead_open", _:
                heads = []
            case "tr_open", _:
                column = 0
            case "th_open", Token(content=head):
                heads.append(head.replace("`", ""))
            case "td_open", _:
                token.attrSet("data-label", heads[column])
                column += 1
            case "inline", _:
                token.children = list(_without_other_documents(token.children or []))
        yield token


def _without_other_documents(tokens: list[Token]) -> Iterator[Token]:
    is_dropped = False
    for token in tokens:
        if token.type == "link_open":
            is_dropped = not str(token.attrs["href"]).startswith("#")
        if not (is_dropped and token.type in {"link_open", "link_close"}):
            yield token


def anchor(heading: str) -> str:
    """Return the anchor of a heading, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(page(SOURCE.read_text(encoding="utf-8")), encoding="utf-8")
