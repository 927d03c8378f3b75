"""The configuration's reference, made of what the program itself reads: ``python docs/reference.py`` writes it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from hsmm.selection import CRITERIA, RULES
from tasks.config.components import families
from tasks.config.ops import GAPS, OPS, Op
from tasks.config.reasons import REASONS
from tasks.config.settings import Settings
from tasks.judgement.rules import RULES as GATE

PAGE = Path(__file__).parent / "reference" / "configuration.md"
EXAMPLES: Mapping[str, str] = {
    "A machine's counts, modes and temperatures in one model; each column has its own law": """
name = "presses"
[source]
path = "presses.parquet"
series = "press"
time = "cycle"
frequency = 1                # `cycle` counts steps: 1, 2, 3, …
available_after = 1
[features]
faults = { op = "identity", column = "faults" }
mode = { op = "identity", column = "mode" }
heat = { op = "zscore_rolling", column = "temperature", window = 50 }
[model]
n_states = [2, 3]
emission = { name = "product", parts = ["poisson", "categorical", { name = "gaussian", min_covariance = 1e-4 }], \
columns = [["faults"], ["mode"], ["heat"]] }
duration = ["negative_binomial", { name = "categorical", concentration = 1.5 }]
""",
    "Choices that depend on a stimulus: a GLM-HMM, ranked by how well it foretells whole sessions": """
name = "choices"
[source]
path = "trials.parquet"
series = "session"
time = "trial"
frequency = 1
missing_context = "mark_missing"
[features]
choice = { op = "identity", column = "choice" }
[context]
stimulus = { op = "identity", column = "contrast" }
before = { op = "lag", column = "choice", lag = 1 }
[model]
estimator = "hmm"
n_states = [1, 2, 3]
emission = { name = "glm", family = "bernoulli", regularizer = "ridge", strength = 1.0 }
transition = { name = "sticky", kappa = 20.0 }
[select]
criterion = "held_out"
rule = "one_standard_error"
splits = { name = "k_fold", n_splits = 5 }
""",
    "Stages that come one after the other and never again": """
name = "wear"
[source]
path = "bearings.parquet"
series = "bearing"
time = "time"
frequency = "1h"
states = "stage"             # where an engineer looked: 0, 1, 2; empty elsewhere
[features]
vibration = { op = "log", column = "rms" }
[model]
n_states = 3
emission = "gaussian"
duration = "log_normal"
transition = { name = "left_to_right", max_step = 1 }
initial = { name = "fixed", probability = [1.0, 0.0, 0.0] }
max_duration = 500
[fit]
trainer = { name = "gradient", optimiser = "lbfgs", n_steps = 300 }
""",
}
_KINDS = {
    "emission": "Emissions",
    "duration": "Durations",
    "transition": "Transitions",
    "initial": "Initial laws",
    "trainer": "Trainers",
    "splits": "Splits",
}
_OF_THE_MODEL = {"max_duration", "min_duration", "self_transitions", "parameters"}


def page() -> str:
    """The whole reference."""
    parts = (_head, _keys, _ops, _families, _choices, _rules, _reasons, _examples)
    return "\n".join(line for part in parts for line in part()).rstrip() + "\n"


def _head() -> Iterator[str]:
    yield "# Configuration"
    yield ""
    yield from _prose("""
        A configuration is a TOML file. What it does not say has a default. Later sources win: the file, then variables
        such as `HSMM_FIT__N_INIT=64`, then `--set fit.n_init=64`. A key that is not known, a value of the wrong kind
        and an option that no data could make right are refused before anything is read, with what was expected.
    """)
    yield ""
    yield "This page is made of the program's own tables by `python docs/reference.py`."
    yield ""


def _keys() -> Iterator[str]:
    yield "## Keys"
    yield ""
    for name, section in _sections():
        yield f"### {name}"
        yield ""
        yield f"{_first_line(section)}."
        yield ""
        yield from _table(
            ("key", "default", "what it is"),
            (
                (f"`{key}`", _default(field), f"{_cell(field.description)}{_allowed(field.annotation)}")
                for key, field in section.model_fields.items()
                if field.description
            ),
        )


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "The file itself", Settings
    for key, section in _own_sections(Settings):
        if key != "context":
            yield f"`[{key}]`", section
            yield from ((f"`[{key}.{inner}]`", within) for inner, within in _own_sections(section))


def _own_sections(section: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for key, field in section.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        found = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        yield from ((key, kind) for kind in found)


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "below"
    if value is None or value == {}:
        return "none"
    return f"`{_toml(value[0] if isinstance(value, tuple) and len(value) == 1 else value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, tuple | list) else f"{value:g}"


def _allowed(annotation: Any) -> str:
    names = _literals(annotation)
    return f" One of {', '.join(f'`{name}`' for name in names)}." if len(names) > 1 else ""


def _literals(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [name for part in get_args(annotation) for name in _literals(part)]


def _ops() -> Iterator[str]:
    yield "## Transforms"
    yield ""
    yield from _prose("""
        `op` of a feature, or of a column of the context. Every one is causal: what a row has never changes when more
        rows come. `lags` makes a column of each of several lags.
    """)
    yield ""
    yield from _table(
        ("op", "reads", "is", "unit", "at a missing value"),
        (
            (f"`{name}`", _reads(op), op.says, op.unit.format("column", "other"), GAPS[op.gap])
            for name, op in OPS.items()
        ),
    )


def _reads(op: Op) -> str:
    reads = [("the time", "`column`", "`columns`")[op.n_columns], *(f"`{key}`" for key in sorted(op.needs))]
    either = " or ".join(f"`{key}`" for key in sorted(op.one_of, reverse=True))
    return ", ".join([*reads, either] if either else reads)


def _families() -> Iterator[str]:
    yield "## Families"
    yield ""
    yield from _prose("""
        Each may be named, as `emission = "poisson"`, or stand as a table with its options; `model.emission`,
        `duration`, `transition` and `initial` may be lists, all of whose combinations are fitted. A product's `columns`
        are names of features, those of `glm`, `contextual` and `gated` names of columns of the context. An HMM whose
        moves read the context, as `gated` ones do, is for Python alone: the state table says how long states last.
    """)
    yield ""
    yield "Every other family of this page is fitted, published, reloaded and reported by a test, from its name."
    yield ""
    for kind, title in _KINDS.items():
        key = {"trainer": "fit.trainer", "splits": "select.splits"}.get(kind, f"model.{kind}")
        about = ("values",) if kind == "emission" else ()
        yield f"### {title}: `{key}`"
        yield ""
        yield from _table(
            ("name", "is", "options and defaults", *about),
            (
                (f"`{name}`", _cell(_first_line(family)), _options(family), *(_support(family) for _ in about))
                for name, family in families(kind).items()
            ),
        )


def _support(family: Any) -> str:
    support = family.__dict__.get("support", getattr(family, "support", None))
    return getattr(support, "words", "as its parts") if not isinstance(support, property) else "as its parts"


def _options(family: Any) -> str:
    told = []
    for field in fields(family):
        if field.name in _OF_THE_MODEL or not field.init:
            continue
        required = field.default is MISSING and field.default_factory is MISSING
        default = field.default if field.default_factory is MISSING else field.default_factory()
        told.append(f"`{field.name}`" if required else f"`{field.name} = {_plain(default)}`")
    return ", ".join(told) or "none"


def _plain(value: Any) -> str:
    return "none" if value is None else _toml(value)


def _choices() -> Iterator[str]:
    yield "## Criteria and rules of choice"
    yield ""
    yield f"`select.criterion`: {', '.join(f'`{name}`' for name in CRITERIA)}."
    held_out = [f"`{name}`" for name, criterion in CRITERIA.items() if criterion.on_held_out]
    yield f"`select.rule`: {', '.join(f'`{name}`' for name in RULES)}; all but the first need {' or '.join(held_out)}."
    yield ""


def _rules() -> Iterator[str]:
    yield "## The gate's rules"
    yield ""
    yield from _prose("""
        A model that a rule rejects is unsound by itself; one that a rule holds does not earn the champion's place. The
        codes stand in `gate.json`, on the tracking server, on the page, and as the `reason` of rows that are HELD.
    """)
    yield ""
    yield from _table(
        ("code", "stops", "because"), ((f"`{code}`", rule.stops, _cell(rule.says)) for code, rule in GATE.items())
    )


def _reasons() -> Iterator[str]:
    yield "## Reasons for which a series is set aside"
    yield ""
    yield from _prose("""
        They stand in the quarantine table with what was found and where, on the console, on the page, in `--json`, and
        as the rule of an alert of kind `quarantine`. The others go on.
    """)
    yield ""
    yield from _table(("reason", "because"), ((f"`{reason}`", _cell(says)) for reason, says in REASONS.items()))


def _examples() -> Iterator[str]:
    yield "## Examples"
    yield ""
    for title, text in EXAMPLES.items():
        yield f"{title}:"
        yield ""
        yield f"```toml{text}```"
        yield ""


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Lines of a table, and an empty one after it."""
    columns = tuple(columns)
    for row in (columns, ["---"] * len(columns), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


def _prose(text: str) -> Iterator[str]:
    yield from (line.strip() for line in text.strip().splitlines())


def _first_line(made: Any) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = (inspect.getdoc(made) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")
    paragraph = re.sub(r":\w+:`[~.]?([^`]+)`", r"`\1`", paragraph)
    return paragraph.split(". ")[0].rstrip(".")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
