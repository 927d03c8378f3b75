"""One HTML file that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from hsmm.plot.style import NO_STATE, PALETTE
from tasks.config.sections.feature import LEVEL
from tasks.config.whole import appearing
from tasks.report.page import view
from tasks.report.page.data import PageData
from tasks.report.page.glossary import glossary
from tasks.report.page.series import Sample, sample
from tasks.report.page.text import count, short
from tasks.report.page.units import first_shown, shown_units, unit_views

FILE = "report.html"
_HERE = Path(__file__).parent


def write_page(data: PageData, folder: Path) -> Path:
    """Write the page into ``folder``, created if missing; the same data give the same bytes."""
    path = folder / FILE
    with appearing(path) as made:
        made.write_text(page(data), encoding="utf-8")
    return path


def page(data: PageData) -> str:
    """The page as text. Every word of it is escaped, and it may load or run nothing but what is in it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    scripts, styles = [_read("vendor/uPlot.js"), _read("page.js")], [_read("vendor/uPlot.css"), _read("page.css")]
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    first = first_shown(data)
    units = unit_views(shown_units(data, first))
    drawn = sample(data.rows, data.overview.series, [*data.levels, *data.units], data.n_states, first)
    figures = {f"{place}-{name}": plot for place, unit in enumerate(units) for name, plot in unit["figures"].items()}
    return environment.get_template("page.html").render(
        title=data.name,
        head=view.head(data),
        standing=view.standing(data),
        alerts=view.alerts(data),
        units=units,
        n_units=count(max(len(data.models), 1)),
        legend=[(state, short(name)) for state, name in enumerate(data.state_names)],
        quality=view.quality(data),
        evidence=view.evidence(data),
        glossary=glossary(),
        sample=_described(drawn, data.opens_with),
        steps=data.steps,
        counted=data.counted,
        palette=[*PALETTE],
        no_state=NO_STATE,
        style=Markup("\n".join(styles)),
        scripts=[Markup(script) for script in scripts],
        script_hashes=" ".join(f"'{_hash(script)}'" for script in scripts),
        payload=Markup(script_json(_payload(data, figures, drawn))),
    )


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def script_json(value: Any) -> str:
    """JSON that no mark-up can end, whatever its strings hold."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _payload(data: PageData, figures: dict[str, Any], drawn: Sample) -> dict[str, Any]:
    return {
        "figures": figures,
        "series": drawn.series,
        "features": [
            {
                "key": name,
                "name": short(name.removeprefix(LEVEL)),
                "unit": short((data.units | data.levels).get(name, "nats")),
                "level": name in data.levels,
            }
            for name in drawn.features
        ],
        "states": [short(name) for name in data.state_names],
        "palette": list(PALETTE),
        "noState": NO_STATE,
        "counted": data.counted,
    }


def _described(drawn: Sample, opens_with: str) -> dict[str, Any]:
    return {
        "names": [(series["name"], series["name"] == short(opens_with)) for series in drawn.series],
        "features": [name.removeprefix(LEVEL) for name in drawn.features],
        "n_shown": count(len(drawn.series)),
        "n_series": count(drawn.n_series),
        "is_sample": len(drawn.series) < drawn.n_series,
        "n_rows": count(drawn.n_rows),
        "n_points": count(drawn.n_points),
        "is_thinned": drawn.n_points < drawn.n_rows,
        "n_changes": count(drawn.n_changes),
        "n_changes_drawn": count(drawn.n_changes_drawn),
        "all_changes": drawn.n_changes == drawn.n_changes_drawn,
    }


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
