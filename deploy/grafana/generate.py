"""Writes dashboard.json, the dashboard of asset-worker for Grafana, from panels.py. Run it with `make reference`.

A unit test fails when the dashboard is not up to date, or a query is about a metric or a label that does not exist.
The form is Grafana's classic model, which versions 9 to 13 import.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from panels import GREEN, ROWS, Panel

DASHBOARD: Final = Path(__file__).with_name("dashboard.json")
WIDTH: Final = 24
"""Columns of Grafana's grid."""
OURS: Final = 'job=~"$job", instance=~"$instance"'
"""What selects the workers that the variables name."""
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> str:
    """Return the dashboard as JSON."""
    shown = {
        "uid": "asset-worker",
        "title": "asset-worker",
        "description": "What the workers do, and whether all is well. docs/runbook.md says what to do if not.",
        "tags": ["asset-worker"],
        "schemaVersion": 39,
        "timezone": "utc",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource(), _variable("job"), _variable("instance", where='{job=~"$job"}')]},
        "panels": list(_panels()),
    }
    return f"{json.dumps(shown, indent=1, ensure_ascii=False)}\n"


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus", "hide": 0}


def _variable(label: str, *, where: str = "") -> dict[str, Any]:
    query = f"label_values(asset_worker_build_info{where}, {label})"
    return {
        "name": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": label},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


def _panels() -> Iterator[dict[str, Any]]:
    number = top = 0
    for title, panels in ROWS.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
            "panels": [],
        }
        top, left = top + 1, 0
        for index, panel in enumerate(panels):
            number += 1
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": panel.height})
            left += panel.width
            if left + panel.width > WIDTH or index == len(panels) - 1:
                top, left = top + panel.height, 0


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    is_instant = panel.kind == "stat"
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query.replace("OURS", OURS),
                "legendFormat": legend,
                "instant": is_instant,
                "range": not is_instant,
            }
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": GREEN, "value": None}]
    steps += [{"color": colour, "value": value} for value, colour in panel.limits.items()]
    shown = {str(value): {"text": text, "color": colour} for value, (text, colour) in panel.texts.items()}
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": [{"type": "value", "options": shown}] if shown else [],
    }
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "fillOpacity": 20 if panel.is_stacked else 0,
            "stacking": {"mode": "normal" if panel.is_stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.limits else "off"},
        }
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    match panel.kind:
        case "stat":
            return {
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "textMode": "name" if panel.shows_name else "value_and_name",
                "colorMode": "value",
            }
        case "state-timeline":
            return {"showValue": "never", "legend": {"showLegend": False}, "tooltip": {"mode": "single"}}
        case _:
            return {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }


if __name__ == "__main__":
    DASHBOARD.write_text(dashboard(), encoding="utf-8")
