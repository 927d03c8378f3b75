"""What every encoder keeps: causality to the last bit, files, gradients, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import hsmm
from hsmm.components.context import ENCODERS, Encoder
from hsmm.components.context.base import BLOCK
from hsmm.sequences import Sequences
from tests.hsmm.components.cases import generator

RNG = np.random.default_rng(0)
LENGTHS = [BLOCK + 9, 20]
N_ROWS = sum(LENGTHS)
X = np.repeat(np.arange(30) % 3, 4)[:N_ROWS, None] * 3.0 + RNG.normal(size=(N_ROWS, 2))
SMALL: dict[str, Any] = {"hidden": 4}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "cnn_lstm": [{"channels": 3}],
    "attention": [{"window": 5, "heads": 2}],
    "gru": [{"layers": 2, "layer_norm": True}],
    "cnn": [{"kernel_size": 2, "layers": 3}],
    "mlp": [{"hidden": 48}],
}
CASES = [(name, {**SMALL, **options}) for name in ENCODERS for options in OPTIONS.get(name, [{}])]


def context_for(name: str) -> np.ndarray:
    symbols = np.random.default_rng(1).integers(0, 3, (N_ROWS, 2)).astype(float)
    return symbols if name == "embedding" else 100.0 * np.random.default_rng(2).normal(size=(N_ROWS, 2))


def begun(name: str, options: dict[str, Any], n_restarts: int = 2, **more: Any) -> tuple[Encoder, Sequences]:
    rows = Sequences.from_arrays(X, LENGTHS, context_for(name))
    return ENCODERS[name](**options, **more).initialise(rows, n_restarts, generator(0)), rows


@pytest.mark.parametrize(("name", "options"), CASES, ids=[name for name, _ in CASES])
class TestEveryEncoder:
    def test_what_comes_later_changes_no_bit(self, name: str, options: dict[str, Any]) -> None:
        encoder, rows = begun(name, options)
        whole = encoder.features(rows)
        assert whole.shape == (2, N_ROWS, encoder.width)
        for length in (1, 7, BLOCK, BLOCK + 1):
            head = rows.series([0]).head(torch.tensor([length]))
            assert torch.equal(encoder.features(head), whole[:, :length]), length

    def test_series_and_restarts_are_each_as_if_alone(self, name: str, options: dict[str, Any]) -> None:
        encoder, rows = begun(name, options)
        whole = encoder.features(rows)
        assert torch.equal(encoder.features(rows.series([1])), whole[:, LENGTHS[0] :])
        assert torch.equal(encoder.take(torch.tensor([1])).features(rows), whole[1:])
        assert not torch.equal(whole[0], whole[1])

    def test_what_is_learnt_from_together_is_what_each_series_tells_alone(
        self, name: str, options: dict[str, Any]
    ) -> None:
        both_ways = [False, True] if name in ("gru", "lstm") else [False]
        for bidirectional in both_ways:
            encoder, rows = begun(name, options, bidirectional=bidirectional)
            weight = torch.randn(2, N_ROWS, encoder.width, generator=generator(4), dtype=torch.float64)
            free = {key: value.requires_grad_() for key, value in encoder.free().items()}
            learner = encoder.with_free(free)
            together = learner.features(rows)
            alone = torch.cat([learner.features(rows.series([s])) for s in range(len(LENGTHS))], 1)
            torch.testing.assert_close(together, encoder.features(rows), rtol=1e-12, atol=1e-12)
            slopes = [torch.autograd.grad((weight * one).sum(), list(free.values())) for one in (together, alone)]
            for one, other in zip(*slopes, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)

    def test_every_weight_has_a_slope(self, name: str, options: dict[str, Any]) -> None:
        encoder, rows = begun(name, options, n_restarts=1)
        free = {key: value.clone().requires_grad_() for key, value in encoder.free().items()}
        found = encoder.with_parameters(**free).features(rows)
        weight = torch.randn(found.shape, generator=generator(1), dtype=found.dtype)
        (found * weight).sum().backward()
        for key, value in free.items():
            assert value.grad.isfinite().all()
            assert bool(value.grad.any()), key

    def test_it_learns_is_saved_and_comes_back(self, name: str, options: dict[str, Any], tmp_path: Path) -> None:
        context = context_for(name)
        law = hsmm.HMM(2, context=ENCODERS[name](**options), n_init=1, max_iter=2, tol=0.0)
        model = law.fit(X, LENGTHS, context=context)
        model.save(tmp_path)
        loaded = hsmm.load(tmp_path)
        assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
        assert loaded.score(X, LENGTHS, context=context) == model.score(X, LENGTHS, context=context)
        assert loaded._model.context.hyperparameters() == model._model.context.hyperparameters()
        with pytest.raises(ValueError, match=r"give context|reads a context"):
            model.score(X, LENGTHS)
        if law.context.reads_context:
            with pytest.raises(ValueError, match="reads a context; give context="):
                law.context.initialise(hsmm.Sequences.from_arrays(X, LENGTHS), 1, torch.Generator())
        with pytest.raises(ValueError, match=r"columns|symbol|whole numbers"):
            model.score(X, LENGTHS, context=np.c_[context, context] + 0.5)

    def test_options_out_of_range_are_refused_by_name(self, name: str, options: dict[str, Any]) -> None:
        for wrong in ({"hidden": 0}, {"dropout": 1.0}, {"penalty": -1.0}, {"source": "y"}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                ENCODERS[name](**{**options, **wrong})


@pytest.mark.parametrize("name", ["gru", "lstm", "cnn", "cnn_lstm", "attention"])
def test_a_bidirectional_encoder_looks_ahead_and_causal_questions_refuse_it(name: str) -> None:
    encoder, rows = begun(name, SMALL, bidirectional=True)
    head = rows.series([0]).head(torch.tensor([30]))
    assert not torch.equal(encoder.features(head)[:, 29], encoder.features(rows)[:, 29])
    context = context_for(name)
    law = hsmm.HSMM(2, context=encoder.bare(), n_init=1, max_iter=1, tol=0.0, max_duration=5)
    model = law.fit(X, LENGTHS, context=context)
    model.predict(X, LENGTHS, context=context)
    for question in (
        model.filter_proba,
        model.log_density,
        model.elapsed_duration,
        model.remaining_duration,
        model.decode,
    ):
        with pytest.raises(ValueError, match="bidirectional"):
            question(X, LENGTHS, context=context)
    with pytest.raises(ValueError, match="bidirectional"):
        model.forecast(X, 1, LENGTHS, context=context, future_context=context[:2])
    with pytest.raises(ValueError, match="itself among them"):
        ENCODERS[name](bidirectional=True, source="x")


def own_past(**law: Any) -> hsmm.HSMM:
    encoder = hsmm.context.GRU(hidden=4, source="x")
    chosen = {"context": encoder, "emission": "contextual", "transition": "contextual", "duration": "contextual"}
    model = hsmm.HSMM(2, n_init=1, max_iter=3, tol=0.0, max_duration=5, **{**chosen, **law})
    return model.fit(X[:, :1], LENGTHS)


def test_densities_of_a_row_given_the_past_of_its_own_series_integrate_to_one() -> None:
    model, grid = own_past(), np.linspace(-30.0, 40.0, 301)
    past = X[:9, :1]
    for n_past in (0, 8):
        pieces = [np.r_[past[:n_past, 0], value] for value in grid]
        log_density = model.log_density(np.concatenate(pieces), [n_past + 1] * len(grid))[n_past :: n_past + 1]
        assert np.exp(log_density).sum() * (grid[1] - grid[0]) == pytest.approx(1.0, abs=1e-6)


def test_a_series_that_is_its_own_context_is_read_up_to_the_row_before() -> None:
    encoder = hsmm.context.Linear(hidden=2, source="x")
    rows = Sequences.from_arrays(X, LENGTHS)
    made = encoder.initialise(rows, 1, generator(0))
    before = made.features(rows)
    changed = X.copy()
    changed[10] += 1.0
    moved = (made.features(Sequences.from_arrays(changed, LENGTHS)) != before).any(-1)[0]
    assert moved.nonzero().flatten().tolist() == [11]
    starts = [0, LENGTHS[0]]
    assert (before[:, starts] == 0.0).all()


def test_no_state_of_a_filter_holds_what_an_encoder_reads() -> None:
    model = own_past(transition="dense")
    with pytest.raises(ValueError, match="no state of the filter holds"):
        model.filter_state(X[:, :1], LENGTHS)


def test_inputs_of_any_size_leave_no_nan() -> None:
    context = 1e6 * RNG.normal(size=(N_ROWS, 1))
    law = hsmm.HSMM(2, context="cnn_lstm", emission="contextual", n_init=1, max_iter=3, tol=0.0, max_duration=30)
    model = law.fit(1e6 * X, LENGTHS, context=context)
    assert np.isfinite(model.score(-1e9 * X, LENGTHS, context=1e3 * context))


@pytest.mark.parametrize("name", sorted(ENCODERS.keys() - {"embedding"}))
def test_the_unit_of_the_inputs_changes_nothing(name: str) -> None:
    context = RNG.normal(size=(N_ROWS, 2))
    small, large = (
        hsmm.Sequences.from_arrays(X, LENGTHS, unit * context + shift) for unit, shift in ((1, 0), (1e6, 9))
    )
    begin = ENCODERS[name](hidden=4).initialise
    found = [begin(rows, 1, torch.Generator().manual_seed(0)).features(rows) for rows in (small, large)]
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-9)


def test_what_no_component_could_read_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of attention"):
        hsmm.HSMM(2, context="grru").fit(X, LENGTHS, context=X)
    with pytest.raises(ValueError, match="no contextual form"):
        hsmm.HMM(2, context="gru", transition="sticky").fit(X, LENGTHS, context=X)
    columns = hsmm.transitions.Contextual(columns=(0,))
    with pytest.raises(ValueError, match="an encoder reads all"):
        hsmm.HMM(2, context="gru", transition=columns).fit(X, LENGTHS, context=X)
    with pytest.raises(ValueError, match="cannot read what an encoder makes"):
        hsmm.HMM(2, context="gru", emission="glm").fit(X, LENGTHS, context=X)
    with pytest.raises(ValueError, match="counts parameters"):
        hsmm.select_model(X, [hsmm.HMM(2, context="gru")], LENGTHS, criterion="bic", context=X)
    for net in (
        {"transition": hsmm.transitions.Neural(reads_context=True)},
        {"emission": hsmm.emissions.Neural(reads_context=True)},
    ):
        with pytest.raises(ValueError, match="counts parameters"):
            hsmm.select_model(X, [hsmm.HMM(2, **net)], LENGTHS, criterion="bic", context=X)


@dataclass(frozen=True, kw_only=True, eq=False)
class Recent(Encoder):
    """How far the context has moved within a few rows."""

    name: ClassVar[str] = "test_recent"
    reach: int = 3

    def shapes(self, inputs: torch.Tensor) -> dict[str, tuple[int, ...]]:
        return {"weight": (inputs.shape[1], self.hidden)}

    def encode(self, weights: hsmm.context.Weights, rows: torch.Tensor) -> torch.Tensor:
        then = torch.nn.functional.pad(rows, (0, 0, self.reach, 0))[: len(rows)]
        return torch.tanh(hsmm.context.by_blocks(rows - then, weights["weight"]))


def test_a_users_own_encoder_is_a_name_and_a_few_lines() -> None:
    try:
        model = hsmm.HMM(2, context="test_recent", n_init=1, max_iter=2, tol=0.0).fit(X, LENGTHS, context=X)
        assert isinstance(model._model.context, Recent)
    finally:
        ENCODERS.pop("test_recent")
