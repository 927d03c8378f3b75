"""Every registered family, by its name alone, is fitted, published, reloaded and reported from a configuration."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import hsmm
from hsmm.components.register import KINDS
from tasks.config.components import families, made
from tasks.config.errors import ConfigurationError
from tasks.fitting.candidates import check_candidates
from tasks.fitting.decode import decode
from tasks.report.pictures import page
from tasks.source.ingest import ingest
from tasks.source.validate import validate
from tasks.tracking.results import ranking_of

N_ROWS = 150
OPTIONS = {
    ("emission", "product"): "{name='product', parts=['poisson', 'gaussian'], columns=[['a'], ['b']]}",
    ("transition", "masked"): "{name='masked', allowed=[[true, true], [true, false]]}",
    ("context", "gru"): "{name='gru', hidden=3}",
    ("initial", "fixed"): "{name='fixed', probability=[0.5, 0.5]}",
}
DAYS = "context.c={op='day_of_week'}"
ONLY_HMM = {("transition", "sticky")}
REFUSED = {("transition", "gated")}
"""For HMMs alone, of moves by row: no state table can say how long their states last."""
TOGETHER = {("initial", "factorial"), ("transition", "factorial"), ("emission", "additive")}
"""Which are one model: its nights are in test_chains.py."""
NEEDED = ["model.n_states=2", "model.max_duration=120", "fit.n_init=2", "fit.max_iter=1000"]


def example(emission: object) -> pl.DataFrame:
    """The rows that a family expects, of two features, with a context beside them."""
    law = hsmm.emissions.Product(parts=("poisson", "gaussian")) if emission == "product" else made("emission", emission)
    law = families("emission")[law]() if isinstance(law, str) else law
    sequences = law.example(N_ROWS, torch.Generator().manual_seed(4))
    days = pl.datetime_range(
        pl.datetime(2020, 1, 1), pl.datetime(2020, 1, 1) + timedelta(days=N_ROWS - 1), "1d", eager=True
    )
    values = {name: sequences.values[:, column].numpy() for column, name in enumerate("ab")}
    context = {"c": np.random.default_rng(0).normal(size=N_ROWS)}
    return pl.DataFrame({"symbol": "A", "date": days.dt.date(), **values, **context})


FAMILIES = [(kind, name) for kind in KINDS for name in KINDS[kind].families if (kind, name) not in REFUSED | TOGETHER]
COSTLY = {*FAMILIES} - {
    ("context", "embedding"),
    ("duration", "log_normal"),
    ("emission", "glm"),
    ("initial", "fixed"),
    ("transition", "contextual"),
}
"""All but one of each kind."""
OF_CONTEXT = ("gru", "embedding")
SHOWN = [
    pytest.param(kind, name, marks=[pytest.mark.costly] if (kind, name) in COSTLY else [])
    for kind, name in FAMILIES
    if kind != "context" or name in OF_CONTEXT
]


@pytest.mark.parametrize(("kind", "name"), SHOWN)
def test_a_family_is_a_name_in_a_configuration(place_at, kind: str, name: str) -> None:
    place = place_at("one")
    example(name if kind == "emission" else "gaussian").write_parquet(place.source)
    assignments = [
        *NEEDED,
        f"model.{kind}={OPTIONS.get((kind, name), name)}",
        "features={a={op='identity', column='a'}, b={op='identity', column='b'}}",
    ]
    if name in ("glm", "contextual") or kind == "context":
        assignments.append("context.c={op='identity', column='c'}" if name != "embedding" else DAYS)
    if kind == "context":
        assignments += ["select.criterion=held_out", "fit.max_iter=200", "model.max_duration=10", "fit.n_init=1"]
    if (kind, name) in ONLY_HMM:
        place.config.write_text(place.config.read_text().replace('duration = "geometric"\nmax_duration = 20\n', ""))
        assignments = [a for a in assignments if "max_duration" not in a] + ["model.estimator=hmm"]
    said = place.night(None, *assignments)
    assert said["gate"]["verdict"] == "PROMOTE", said["gate"]
    settings = place.settings(*assignments)
    validated, bundle = validate(ingest(settings), settings), place.registry.bundle(1)
    assert name in str(bundle.members[""].model._fitted_model().components()[kind].name)
    again = decode(bundle, validated, name="toy", version=1, key=said["run_key"], state_names={})
    assert again.equals(place.table().sort("time").select(again.columns))
    written = page(settings, said, validated, ranking_of(place.registry.results()), bundle)
    assert said["best"]["emission"] in Path(written).read_text()


@pytest.mark.parametrize("law", ["model.transition=gated", "model.transition=contextual", "model.context=gru"])
def test_states_of_an_hmm_whose_moves_read_the_context_have_no_table(place_at, law: str) -> None:
    place = place_at("one")
    place.config.write_text(place.config.read_text().replace('duration = "geometric"\nmax_duration = 20\n', ""))
    settings = place.settings(law, "model.estimator=hmm", "select.criterion=held_out", DAYS)
    with pytest.raises(ConfigurationError, match="how long states last"):
        check_candidates(settings)
