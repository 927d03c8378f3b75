"""One id is one kind of state in every unit; what is not clearly of one kind shares no id."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

import hsmm
from hsmm import Estimator
from tasks.fitting.bundle import Member
from tasks.fitting.scaling import Scaling
from tasks.judgement.align import Identity, first_identity
from tasks.judgement.kin import Kinship, kin_of, widest_first

START = datetime(2024, 1, 1, tzinfo=UTC)
LEVELS = {"A": [0.0, 6.0], "B": [6.0, 0.0], "C": [12.0, 0.0, 6.0], "D": [0.0, 30.0]}
SCALING = Scaling(["x"], pl.DataFrame({"series_id": ["*"], "mean:x": [0.0], "scale:x": [1.0]}))


def model_of(levels: list[float]) -> hsmm.HMM:
    n_states = len(levels)
    stay = np.full((n_states, n_states), 0.1 / (n_states - 1))
    np.fill_diagonal(stay, 0.9)
    emission = hsmm.emissions.Gaussian.from_parameters(
        mean=np.array(levels)[:, None], covariance=np.ones((n_states, 1, 1))
    )
    return hsmm.HMM.from_parameters(
        initial_prob=np.full(n_states, 1 / n_states), transition_prob=stay, emission=emission
    )


def rows_of(unit: str, model: Estimator) -> pl.DataFrame:
    x = model.sample(400, random_state=len(unit))[0][:, 0]
    return pl.DataFrame({"series_id": unit, "time": [START + timedelta(hours=i) for i in range(400)], "x": x})


def settled(units: str, kinship: Kinship) -> dict[str, tuple[Estimator, Identity]]:
    found = {}
    for unit in units:
        model = model_of(LEVELS[unit])
        identity = first_identity(model)
        found[unit] = kinship.settle(model, identity, {*identity.ids}, SCALING, rows_of(unit, model))
    return found


def level_by_id(model: Estimator, identity: Identity) -> dict[int, float]:
    return dict(zip(identity.ids, model.emission_.moments()[0][0, :, 0].tolist(), strict=True))


@pytest.mark.parametrize("order", ["CABD", "ABCD", "DCBA"])
def test_one_id_is_one_level_in_all_units_and_no_level_has_two_ids_but_that_of_no_kin(order: str) -> None:
    found = settled(order, Kinship((), 0, 0.05))
    by_id: dict[int, set[float]] = {}
    for model, identity in found.values():
        assert list(identity.ids) == sorted(set(identity.ids))
        for state, level in level_by_id(model, identity).items():
            by_id.setdefault(state, set()).add(level)
    assert all(len(levels) == 1 for levels in by_id.values())
    assert level_by_id(*found["A"]) == level_by_id(*found["B"])
    first = level_by_id(*found[order[0]])
    for model, identity in found.values():
        shared = {level for level in level_by_id(model, identity).values() if level in first.values()}
        assert shared == {level for state, level in level_by_id(model, identity).items() if state in first}


def test_a_model_that_is_settled_says_of_rows_what_it_said_before() -> None:
    kinship = Kinship((), 0, 0.05)
    settled("A", kinship)
    model = model_of(LEVELS["B"])
    rows = rows_of("B", model)
    renamed, identity = kinship.settle(model, first_identity(model), {0, 1}, SCALING, rows)
    assert identity.ids == (0, 1)
    assert renamed.predict_proba(rows["x"])[:, ::-1] == pytest.approx(model.predict_proba(rows["x"]))


def test_births_in_two_units_of_one_night_are_two_ids() -> None:
    kinship = Kinship((), 7, 0.05)
    born = []
    for unit in "CD":
        model = model_of(LEVELS[unit])
        new = model.n_states - 1
        identity = Identity(tuple(range(model.n_states)), model.n_states, 0.9, births=(new,))
        model, told = kinship.settle(model, identity, {new}, SCALING, rows_of(unit, model))
        assert told.ids[:-1] == identity.ids[:-1]
        assert told.births == told.ids[-1:]
        assert told.next_id > told.ids[-1]
        born.append(told.births)
    assert born == [(7,), (8,)]


def test_a_birth_of_the_kins_kind_bears_its_id_unless_the_unit_has_it_already() -> None:
    model, wide = model_of([0.0, 12.0]), model_of([0.0, 6.0, 12.0])
    member = Member(wide, (3, 4, 5), 6, None, START, START)
    rows = {"W": rows_of("W", wide), "A": rows_of("A", model)}
    for before, ids in (((3, 6), (3, 5)), ((5, 6), (5, 6))):
        kinship = Kinship(kin_of({"W": member}, SCALING, rows), 6, 0.05)
        told = kinship.settle(model, Identity(before, 7, 0.9, births=(6,)), {6}, SCALING, rows["A"])[1]
        assert told.ids == ids


def test_what_is_not_clear_shares_no_id() -> None:
    kinship = Kinship((), 0, 1.1)
    found = settled("AB", kinship)
    assert not {*found["A"][1].ids} & {*found["B"][1].ids}


def test_laws_that_cannot_be_asked_of_the_others_rows_share_no_id() -> None:
    counts = hsmm.HMM.from_parameters(
        initial_prob=[0.5, 0.5],
        transition_prob=np.full((2, 2), 0.5),
        emission=hsmm.emissions.Poisson.from_parameters([[1.0], [9.0]]),
    )
    kinship = Kinship((), 0, 0.05)
    settled("A", kinship)
    rows = rows_of("N", model_of(LEVELS["A"])).with_columns(pl.col("x").abs().round())
    assert kinship.settle(counts, first_identity(counts), {0, 1}, SCALING, rows)[1].ids == (2, 3)


def test_kin_are_the_widest_models_with_ids_of_their_own_whose_rows_are_known() -> None:
    models = {unit: model_of(LEVELS[unit]) for unit in "ABCD"}
    assert widest_first(models) == ["C", "A", "B", "D"]
    members = {
        unit: Member(model, tuple(range(model.n_states)), 9, None, START, START) for unit, model in models.items()
    }
    kin = kin_of(members, SCALING, {unit: rows_of(unit, models[unit]) for unit in "BD"})
    assert [of.model for of in kin] == [models["B"]]
    others = {**members, "D": replace(members["D"], ids=(0, 4))}
    everyone = kin_of(others, SCALING, {unit: rows_of(unit, models[unit]) for unit in "ABCD"})
    assert [of.model for of in everyone] == [models["C"], models["D"]]
    assert kin_of(members, SCALING, {}) == []
