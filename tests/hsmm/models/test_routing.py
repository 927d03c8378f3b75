"""Scikit-learn hands on what a model asks for: where series end, by lengths or by the name of each row's."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import hsmm
from hsmm.errors import UnknownOptionError
from tests.hsmm.models.cases import QUICK

LENGTHS = [30, 20, 25, 25]
GROUPS = np.repeat(["b", "a", "d", "c"], LENGTHS)
X = np.random.default_rng(2).normal(size=(100, 1)) + 6.0 * (np.arange(100)[:, None] // 7 % 2)
MODEL = hsmm.HMM(2, initial="free", **QUICK)


def asking(**wanted: bool) -> hsmm.HMM:
    return MODEL.clone().set_fit_request(**wanted).set_score_request(**wanted)


def test_groups_are_lengths_by_name() -> None:
    by_length, by_name = MODEL.clone().fit(X, LENGTHS), MODEL.clone().fit(X, groups=GROUPS)
    assert np.array_equal(by_name.history_, by_length.history_)
    assert by_name.score(X, groups=GROUPS) == by_length.score(X, LENGTHS) != by_length.score(X)
    assert np.array_equal(by_name.predict(X, groups=GROUPS), by_length.predict(X, LENGTHS))
    assert np.array_equal(by_name.predict_proba(X, groups=GROUPS), by_length.predict_proba(X, LENGTHS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": GROUPS, "lengths": LENGTHS}, "both say where series end"),
        ({"groups": GROUPS[:-1]}, r"shape \(99,\); expected \(100,\)"),
        ({"groups": np.r_[GROUPS[50:], GROUPS[:50]][::-1]}, None),
        ({"groups": np.r_[["b"], ["a"] * 98, ["b"]]}, "holds .*'b'.* from row 0 on, and again from row 99"),
    ],
)
def test_groups_that_do_not_say_where_series_end_are_refused(options: dict, message: str | None) -> None:
    if message is None:
        MODEL.clone().fit(X, **options)
        return
    with pytest.raises(ValueError, match=message):
        MODEL.clone().fit(X, **options)


def test_a_pipeline_hands_lengths_to_its_last_step() -> None:
    alone = MODEL.clone().fit(StandardScaler().fit_transform(X), LENGTHS)
    steps = sklearn.pipeline.Pipeline([("scale", StandardScaler()), ("hsmm", MODEL.clone())])
    assert steps.fit(X, hsmm__lengths=LENGTHS)[-1].log_likelihood_ == alone.log_likelihood_
    assert np.array_equal(steps.predict(X), alone.predict(StandardScaler().fit_transform(X)))


def test_a_pipeline_routes_lengths() -> None:
    alone = MODEL.clone().fit(StandardScaler().fit_transform(X), LENGTHS)
    with sklearn.config_context(enable_metadata_routing=True):
        steps = make_pipeline(StandardScaler(), asking(lengths=True)).fit(X, lengths=LENGTHS)
        assert steps.score(X, lengths=LENGTHS) == alone.score(StandardScaler().fit_transform(X), LENGTHS)


def test_whole_series_are_held_out_by_group() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        found = cross_validate(asking(groups=True), X, params={"groups": GROUPS}, cv=GroupKFold(4))["test_score"]
        search = GridSearchCV(asking(groups=True), {"n_states": [1, 2]}, cv=GroupKFold(2)).fit(X, groups=GROUPS)
    folds = GroupKFold(4).split(X, groups=GROUPS)
    expected = [
        MODEL.clone().fit(X[train], groups=GROUPS[train]).score(X[test], groups=GROUPS[test]) for train, test in folds
    ]
    assert found.tolist() == expected
    assert search.best_params_ == {"n_states": 2}


def test_predictions_across_folds_are_routed_likewise() -> None:
    model = MODEL.clone().set_fit_request(groups=True).set_predict_request(groups=True)
    with sklearn.config_context(enable_metadata_routing=True):
        states = cross_val_predict(model, X, params={"groups": GROUPS}, cv=GroupKFold(2))
    assert states.shape == (100,)


def test_what_nobody_asked_for_is_refused_by_scikit_learn() -> None:
    with sklearn.config_context(enable_metadata_routing=True), pytest.raises(ValueError, match="lengths"):
        make_pipeline(StandardScaler(), MODEL.clone()).fit(X, lengths=LENGTHS)


def test_requests_are_cloned_and_misspelt_ones_answered() -> None:
    asked = asking(lengths=True)
    for copied in (clone(asked), asked.clone()):
        assert copied.get_metadata_routing().fit.requests["lengths"] is True
    assert MODEL.get_metadata_routing().fit.requests["lengths"] is None
    with pytest.raises(UnknownOptionError, match=r"fit takes no 'length'; did you mean 'lengths'\?"):
        MODEL.set_fit_request(length=True)


def test_a_score_counts_series_as_often_as_they_weigh() -> None:
    model = MODEL.clone().fit(X, LENGTHS)
    alone = [model.score(X[name == GROUPS]) for name in "bad"]
    weighed = model.score(X, LENGTHS, sample_weight=[2.0, 0.0, 0.5, 0.0])
    assert weighed == pytest.approx(2.0 * alone[0] + 0.5 * alone[2], rel=1e-12)
