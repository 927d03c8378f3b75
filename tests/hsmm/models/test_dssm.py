"""The deep state-space model: exact questions whatever was learnt, and a bound that is one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import hsmm
from hsmm import inference
from hsmm.components.model import Model
from hsmm.sequences import Sequences
from hsmm.training.guide import Guided, lower_bound, reading, seen_whole
from hsmm.training.objective import Objective
from hsmm.training.starts import draw_starts, initial_model
from hsmm.training.trainers import AdamW, Variational
from hsmm.training.variational import GuidedWalk, Paths, drawn_bound
from hsmm.training.walk import Stride

pytestmark = pytest.mark.filterwarnings("ignore::hsmm.errors.ConvergenceWarning")

LENGTHS = [12] * 8
RNG = np.random.default_rng(3)
STATES = np.concatenate([np.repeat(RNG.permutation(3), 4) for _ in LENGTHS])
MEANS = np.array([[0.0, 3.0], [3.0, 0.0], [-3.0, -3.0]])
X = MEANS[STATES] + 0.7 * RNG.normal(size=(96, 2))
PAST = hsmm.context.GRU(hidden=3, source="x")
HARD = Paths("hard", 1.0, 0.5, 1.0)


def deep(training: Any = "exact", **options: Any) -> hsmm.DSSM:
    chosen = {"transition_hidden": 4, "emission_hidden": 4, "n_init": 2, "max_iter": 40, **options}
    return hsmm.DSSM(3, training=training, **chosen)


@pytest.fixture(scope="module")
def exact() -> hsmm.DSSM:
    return deep().fit(X, LENGTHS)


@pytest.fixture(scope="module")
def guided() -> hsmm.DSSM:
    return deep("variational", max_iter=60).fit(X, LENGTHS)


@pytest.fixture(scope="module")
def recurrent() -> hsmm.DSSM:
    return deep("variational", context=PAST, n_init=1, max_iter=25).fit(X, LENGTHS)


FITTED = ["exact", "guided", "recurrent"]


def begun(lengths: list[int], context: Any = None, seed: int = 0) -> tuple[Guided, Sequences]:
    """Two models beside guides, none of which knows anything of the other; some cells are missing."""
    values = np.random.default_rng(seed).normal(size=(sum(lengths), 2)) * 2.0
    values[1, 0], values[2] = np.nan, np.nan
    rows = Sequences.from_arrays(values, lengths)
    reads = {"hidden": 4, "reads_context": context is not None}
    moves = hsmm.transitions.Neural(self_transitions=True, **reads)
    structure = Model(hsmm.initials.FreeInitial(), moves, None, hsmm.emissions.Neural(**reads), context=context)
    model = initial_model(structure, rows, draw_starts(rows, 3, 2, 5, 0), 0)
    made = Guided.beginning(model, rows, 3, seed)
    drawn = torch.Generator().manual_seed(seed)
    free = {name: x + 0.3 * torch.randn(x.shape, generator=drawn, dtype=x.dtype) for name, x in made.free().items()}
    return made.with_free(free), rows


def test_a_network_of_a_one_hot_state_is_a_table(exact: hsmm.DSSM) -> None:
    mean, scale = exact.emission_.moments()
    law = hsmm.emissions.Gaussian.from_parameters(mean=mean[0].numpy(), covariance=scale[0].numpy() ** 2)
    tables = {"initial_prob": exact.initial_prob_, "transition_prob": exact.transition_prob_, "emission": law}
    same = hsmm.HMM.from_parameters(**tables)
    assert exact.score(X, LENGTHS) == pytest.approx(same.score(X, LENGTHS), rel=1e-9)
    assert np.array_equal(exact.predict(X, LENGTHS), same.predict(X, LENGTHS))


@pytest.mark.parametrize("name", FITTED)
def test_states_are_found_by_either_training(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    assert hsmm.metrics.aligned_accuracy(STATES, model.predict(X, LENGTHS)) > 0.97
    assert model.score(X, LENGTHS) == pytest.approx(model.log_likelihood_, rel=1e-9)
    assert len(model.restarts_) == model.n_init
    assert np.isfinite(model.history_[1:]).all()
    assert set(model.curves_.columns) == {"objective", "held_out"}
    np.testing.assert_allclose(model.predict_proba(X, LENGTHS).sum(1), 1.0)


@pytest.mark.parametrize("context", [None, PAST], ids=["table", "past"])
def test_the_bound_is_the_mean_over_every_path_of_the_guide(context: Any) -> None:
    model, rows = begun([4, 1, 3], context)
    plain, guide = model.apart()
    found = lower_bound(plain, guide, rows)
    p, read = plain.potentials(rows), reading(guide, rows)
    begins, moves = guide.initial.log_potentials(read).exp(), guide.transition.log_potentials(read).exp()
    tables = p.log_transition if p.log_transition.ndim == 4 else p.log_transition[:, None].expand(-1, 8, -1, -1)
    for restart, (series, (start, stop)) in product(range(2), enumerate([(0, 4), (4, 5), (5, 8)])):
        total = 0.0
        for path in product(range(3), repeat=stop - start):
            chosen = begins[restart, series, path[0]]
            joint = p.log_initial[restart, path[0]] + p.log_emission[restart, start, path[0]]
            for n, (i, j) in enumerate(pairwise(path), start):
                chosen = chosen * moves[restart, n, i, j]
                joint = joint + tables[restart, n, i, j] + p.log_emission[restart, n + 1, j]
            total += float(chosen * (joint - chosen.log()))
        assert float(found[restart, series]) == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize("context", [None, PAST], ids=["table", "past"])
def test_the_bound_is_below_the_likelihood_wherever_training_passes(context: Any) -> None:
    model, rows = begun([5, 1, 6, 4], context)
    walk = GuidedWalk(model, Objective(rows), Stride(30, 0.1, 0.0, 50.0, 2, "constant", 1.0), paths=HARD)
    gaps = []
    for _ in range(10):
        now = walk.advance(3)[0]
        assert isinstance(now, Guided)
        gaps.append(inference.log_partition(now.potentials(rows)) - lower_bound(*now.apart(), rows))
    assert torch.stack(gaps).min() > -1e-9
    assert gaps[-1].sum() < gaps[0].sum()


def test_a_guide_goes_nowhere_the_model_cannot() -> None:
    first = hsmm.initials.FixedInitial(probability=(0.5, 0.5, 0.0))
    model = deep("variational", initial=first, n_init=1, max_iter=12).fit(X, LENGTHS)
    assert np.isfinite(model.history_[1:]).all()
    assert -np.inf < model.lower_bound_ <= model.log_likelihood_


def test_of_one_state_the_bound_is_the_likelihood() -> None:
    model = hsmm.DSSM(1, training="variational", transition_hidden=1, emission_hidden=1, n_init=1, max_iter=5)
    model.fit(X, LENGTHS)
    assert model.lower_bound_ == pytest.approx(model.log_likelihood_, rel=1e-12)


def test_the_mean_of_drawn_bounds_is_the_bound() -> None:
    model, rows = begun([5, 1, 6])
    many = model.take(torch.zeros(200, dtype=torch.int64))
    drawn = drawn_bound(many, Objective(rows), HARD, 1.0, torch.Generator().manual_seed(1))
    off = (drawn.mean(0) - lower_bound(*model.apart(), rows)[0]).abs()
    assert (off <= 4.0 * drawn.std(0) / 200**0.5 + 1e-12).all()


def test_relaxations_differ_in_their_values_or_in_their_slopes() -> None:
    model, rows = begun([6, 4])

    def told(relaxation: Any) -> tuple[Tensor, Tensor]:
        weight = model.guide_initial.parameters["bias"].clone().requires_grad_()
        first = model.guide_initial.with_parameters(bias=weight)
        own = replace(model, guide_initial=first)
        generator = torch.Generator().manual_seed(2)
        bound = drawn_bound(own, Objective(rows), replace(HARD, relaxation=relaxation), 1.0, generator)
        return bound.detach(), torch.autograd.grad(bound.sum(), weight)[0]

    (soft, _), (straight, slope), (hard, flat) = (told(name) for name in ("soft", "straight_through", "hard"))
    torch.testing.assert_close(straight, hard)
    assert not torch.allclose(soft, hard, rtol=1e-3)
    assert not torch.allclose(slope, flat, rtol=1e-3)


def test_to_a_guide_a_missing_value_is_a_usual_one_and_is_marked() -> None:
    model, rows = begun([6, 4])
    read = model.guide_context._standard(seen_whole(rows, model.guide_context))
    values, marks = read[:, :, :2], read[:, :, 2:]
    assert (values[:, ~rows.observed] == 0.0).all()
    assert (marks[:, ~rows.observed] < 0.0).all()
    assert (marks[:, rows.observed] > 0.0).all()


def test_a_guide_learns_before_it_leads() -> None:
    model, rows = begun([6, 4])
    walk = GuidedWalk(model, Objective(rows), Stride(40, 0.1, 0.0, 50.0, None, "constant", 1.0), paths=HARD)
    early = walk.advance(3)[0].free()
    late = walk.advance(5)[0].free()
    for name, value in model.free().items():
        assert torch.equal(early[name], value) != name.startswith("guide_"), name
    assert not torch.equal(late["emission.bias"], early["emission.bias"])


def test_heat_falls_and_the_divergence_comes_to_count() -> None:
    paths = Paths("soft", 2.0, 0.25, 0.1)
    shares = np.linspace(0.0, 1.0, 9)
    heats, weights = ([one(share) for share in shares] for one in (paths.heat, paths.weight))
    assert (heats[0], weights[0]) == (2.0, 0.1)
    assert heats[4:] == pytest.approx([0.25] * 5)
    assert weights[4:] == pytest.approx([1.0] * 5)
    assert (np.diff(heats) <= 0).all()
    assert (np.diff(weights) >= 0).all()


@pytest.mark.parametrize("name", FITTED)
def test_a_model_goes_through_files_unchanged(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model = request.getfixturevalue(name)
    found = hsmm.load(model.save(tmp_path))
    assert isinstance(found, hsmm.DSSM)
    assert repr(found) == repr(model)
    assert found.score(X, LENGTHS) == model.score(X, LENGTHS)
    assert np.array_equal(found.filter_proba(X, LENGTHS), model.filter_proba(X, LENGTHS))
    if name == "exact":
        assert not (tmp_path / "guide").exists()
        with pytest.raises(hsmm.errors.NotFittedError, match="no guide was learnt"):
            found.lower_bound(X, LENGTHS)
        return
    assert found.lower_bound_ == model.lower_bound_
    assert found.lower_bound(X, LENGTHS) == model.lower_bound(X, LENGTHS) <= model.score(X, LENGTHS)
    assert found.lower_bound(X, LENGTHS) == pytest.approx(model.lower_bound_, rel=1e-9)


def test_a_folder_that_lies_is_refused(guided: hsmm.DSSM, tmp_path: Path) -> None:
    written = guided.save(tmp_path / "model")
    manifest = json.loads((written / "model.json").read_text())
    for spoilt in ({"n_states": 3, "wrong": 1}, {}):
        told = {**manifest, "details": {**manifest["details"], "options": spoilt}}
        (written / "model.json").write_text(json.dumps(told))
        with pytest.raises(ValueError, match="saved with options that do not fit"):
            hsmm.load(written)
    other = hsmm.HMM(3, n_init=1, max_iter=3, tol=0.0).fit(X, LENGTHS).save(tmp_path / "other")
    lying = json.loads((other / "model.json").read_text())
    lying["details"] = manifest["details"]
    (other / "model.json").write_text(json.dumps(lying))
    with pytest.raises(ValueError, match="its transition is 'dense'"):
        hsmm.load(other)
    shutil.rmtree(written / "guide")
    (written / "model.json").write_text(json.dumps(manifest))
    assert hsmm.load(written).score(X, LENGTHS) == guided.score(X, LENGTHS)


@pytest.mark.parametrize("name", FITTED)
def test_other_names_of_states_change_nothing(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    other = model.permuted([2, 0, 1])
    assert other.score(X, LENGTHS) == pytest.approx(model.score(X, LENGTHS), rel=1e-12)
    assert np.array_equal(np.array([2, 0, 1])[other.predict(X, LENGTHS)], model.predict(X, LENGTHS))
    if name != "exact":
        assert other.lower_bound(X, LENGTHS) == pytest.approx(model.lower_bound(X, LENGTHS), rel=1e-12)


def test_what_is_known_at_a_row_depends_on_no_later_one(recurrent: hsmm.DSSM) -> None:
    whole = recurrent.filter_proba(X[:12])
    for stop in (1, 5, 11):
        assert np.array_equal(recurrent.filter_proba(X[:stop]), whole[:stop])
    for part in (recurrent._model.transition, recurrent._model.emission):
        assert part.parameters["gate"].abs().max() > 1e-4
    assert recurrent._model.potentials(Sequences.from_arrays(X[:12])).log_transition.ndim == 4


def test_questions_about_rows_read_what_the_encoder_makes_of_them(recurrent: hsmm.DSSM) -> None:
    told = recurrent.contributions(X, LENGTHS)
    assert told["surprise"].to_numpy() == pytest.approx(-recurrent.log_density(X, LENGTHS), abs=1e-9)
    residuals = recurrent.pseudo_residuals(X, LENGTHS)
    assert np.corrcoef(residuals[:, 0] ** 2 + residuals[:, 1] ** 2, told["surprise"])[0, 1] > 0.5


def test_it_forecasts_and_samples(exact: hsmm.DSSM, recurrent: hsmm.DSSM) -> None:
    assert exact.forecast(X, 4, LENGTHS).shape == (8, 4, 3)
    drawn, states = exact.sample(2000, random_state=0)
    assert drawn.shape == (2000, 2)
    assert hsmm.metrics.aligned_accuracy(states, exact.predict(drawn)) > 0.95
    beyond = recurrent.forecast(X, 3, LENGTHS, n_paths=4)
    np.testing.assert_allclose(beyond.sum(-1), 1.0)
    assert np.array_equal(beyond[:, :1], recurrent.forecast(X, 1, LENGTHS))
    assert np.isfinite(recurrent.score(recurrent.sample(8, random_state=0)[0]))


@pytest.mark.parametrize("training", ["exact", "variational"])
@pytest.mark.parametrize("context", [None, PAST], ids=["table", "past"])
def test_wild_units_leave_no_nan(training: str, context: Any) -> None:
    wild = X * [1e6, 1e-6] + [1e6, 0.0]
    wild[3, 0], wild[40] = np.nan, np.nan
    model = deep(training, context=context, n_init=1, max_iter=12).fit(wild, LENGTHS)
    assert np.isfinite(model.score(wild, LENGTHS))
    assert all(value.isfinite().all() for value in model._model.free().values())


def test_scales_are_learnt_shared_or_given() -> None:
    shared, fixed = (deep(scale=scale, max_iter=10).fit(X, LENGTHS).emission_ for scale in ("shared", 0.5))
    assert np.ptp(shared.moments()[1][0].numpy(), axis=0).max() < 1e-12
    assert fixed.moments()[1].numpy() == pytest.approx(0.5)
    with pytest.raises(ValueError, match="scale is 'stat'; expected 'state', 'shared' or a number"):
        deep(scale="stat").fit(X, LENGTHS)


def test_a_seed_gives_the_same_bits() -> None:
    one, other = (deep("variational", n_init=1, max_iter=5).fit(X, LENGTHS) for _ in range(2))
    assert one.score(X, LENGTHS) == other.score(X, LENGTHS)
    assert one.lower_bound_ == other.lower_bound_


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": "exakt"}, "training is 'exakt'; expected one of exact, variational"),
        ({"emission_hidden": 2}, "hidden is 2 for 3 states"),
        ({"transition_hidden": 0}, "hidden is 0; expected a whole number"),
        ({"penalty": -1.0}, "penalty is -1.0"),
        ({"context": "grü"}, "context is 'grü'"),
    ],
)
def test_impossible_options_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deep(**change).fit(X, LENGTHS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relaxation": "softly"}, "relaxation is 'softly'"),
        ({"gumbel": 0.1, "least_gumbel": 0.2}, "expected temperatures > 0 that fall"),
        ({"first_weight": 1.5}, "first_weight is 1.5"),
        ({"guide_hidden": 0}, "guide_hidden is 0"),
    ],
)
def test_how_paths_are_drawn_is_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Variational(**change)


def test_what_cannot_be_learnt_by_paths_is_refused() -> None:
    with pytest.raises(ValueError, match="transitions are 'dense'"):
        hsmm.HMM(3, trainer="variational").fit(X, LENGTHS)
    with pytest.raises(ValueError, match="states are given, but variational training draws them"):
        deep("variational").fit(X, LENGTHS, states=STATES)
    with pytest.raises(ValueError, match="2 rows for 3 states"):
        deep().fit(X[:2])


def test_training_may_be_an_object(tmp_path: Path) -> None:
    chosen = Variational(n_steps=8, every=4, guide_hidden=3, relaxation="soft", checkpoint=str(tmp_path / "steps"))
    model = deep(chosen, n_init=1).fit(X, LENGTHS)
    assert hsmm.load(model.save(tmp_path / "model")).training == chosen
    with pytest.raises(ValueError, match="checkpoint of another fit"):
        deep(replace(chosen, relaxation="hard"), n_init=1).fit(X, LENGTHS)
    assert isinstance(deep(AdamW(n_steps=3, every=3)).fit(X, LENGTHS).trainer, AdamW)
