"""Nights of chains of which only the sum is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import hsmm
from tasks.config.errors import ConfigurationError
from tasks.fitting.candidates import candidates, check_candidates
from tasks.fitting.decode import decode
from tasks.report.pictures import page
from tasks.source.ingest import ingest
from tasks.source.validate import validate
from tasks.tracking.results import ranking_of

LAWS = 'emission = "gaussian"\nduration = "geometric"\nmax_duration = 20\n'
OPTIONS = ("model.chains=[[2, 2], [2, 3]]", "promote.min_improvement=-9", "fit.max_iter=1000")


@pytest.fixture
def place(place_at, toy):
    """A house of two devices, of which one draws 9 and the other 4."""
    here = place_at("here")
    words = here.config.read_text().replace(LAWS, 'estimator = "factorial"\n').replace("n_states = 3\n", "")
    here.config.write_text(words)
    rng = np.random.default_rng(0)
    runs = np.stack([np.cumsum(rng.random(240) > stay) % 2 for stay in (0.95, 0.8)], 1)
    drawn = 2.0 + runs @ [9.0, 4.0] + 0.5 * rng.normal(size=240)
    toy.frame(drawn, symbol="house").write_parquet(here.source)
    return here, runs


def test_chains_are_fitted_published_and_read_again(place, toy) -> None:
    here, runs = place
    said = here.night(toy.day(200), *OPTIONS)
    assert said["gate"]["verdict"] == "PROMOTE"
    assert (said["best"]["n_states"], said["best"]["emission"]) == (4, "additive(chains=[2, 2])")
    table = here.table().sort("time")
    named = dict(table.select("state", "state_name").unique().iter_rows())
    assert set(named.values()) <= {f"state {k} ({k // 2}, {k % 2})" for k in range(4)}
    states = np.array([[int(s) for s in name[name.index("(") + 1 : -1].split(", ")] for name in table["state_name"]])
    assert (states == runs[: len(states)]).mean() > 0.98

    settings = here.settings(*OPTIONS)
    validated, bundle = validate(ingest(settings), settings), here.registry.bundle(1)
    parts = bundle.members[""].model._fitted_model().components()
    assert {kind: part.name for kind, part in parts.items()} == {
        "initial": "factorial", "transition": "factorial", "emission": "additive",
    }  # fmt: skip
    again = decode(bundle, validated, name="toy", version=1, key=said["run_key"], state_names={})
    known = again.filter(pl.col("time") <= table["time"].max()).sort("time")
    assert known["p_filtered"].equals(table["p_filtered"])
    written = page(settings, said, validated, ranking_of(here.registry.results()), bundle)
    assert "state 3 (1, 1)" in Path(written).read_text()

    later = here.night(toy.day(240), *OPTIONS)
    assert (later["identity"]["ids"], later["identity"]["births"]) == ([0, 1, 2, 3], [])


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("model.n_states=4", 'no `n_states` with estimator = "factorial"'),
        ("model.emission=poisson", "no `emission` with"),
        ("model.duration=poisson", "no `duration` with"),
        ("model.chains=[2, 1]", "the number of states of each chain, 2 or more"),
        ("model.chains=[9, 9, 9]", "729 states together; expected at most 512"),
        ("model.chains=[]", "chains"),
        ("model.estimator=hmm", 'estimator = "factorial" with `chains`'),
    ],
)
def test_what_chains_cannot_be_is_refused_by_name(place, assignment: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        place[0].settings("model.chains=[2, 2]", assignment)


def test_series_cannot_have_moves_of_their_own_where_chains_share_them(place) -> None:
    with pytest.raises(ConfigurationError, match='"shared", but the moves are factorial'):
        check_candidates(place[0].settings("fit.pool=shared"))


def test_chains_are_candidates_beside_states(place) -> None:
    lists = ('model.estimator=["factorial", "hmm"]', "model.chains=[[2, 2], [2, 3]]", "model.n_states=[2, 3]")
    found = candidates(place[0].settings(*lists))
    assert [(one.described["emission"], one.estimator.n_states) for one in found] == [
        *((law, k) for k in (2, 3) for law in ("gaussian", "student_t")),
        ("additive(chains=[2, 2])", 4),
        ("additive(chains=[2, 3])", 6),
    ]
    assert all(isinstance(one.estimator, hsmm.HMM) for one in found)
