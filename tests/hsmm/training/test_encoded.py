"""Training with an encoder: what is held back decides, and nothing of it leaks into what is learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hsmm
from hsmm import inference
from hsmm.components.model import Model
from hsmm.sequences import Sequences
from hsmm.training.coordinates import Coordinates
from hsmm.training.gradient import slope
from hsmm.training.held_back import held_back
from hsmm.training.objective import Objective
from hsmm.training.starts import draw_starts, initial_model
from hsmm.training.trainers import AdamW, Leg
from hsmm.training.walk import Stride, Walk

RNG = np.random.default_rng(0)
LENGTHS = [25] * 6
CONTEXT = RNG.normal(size=(150, 1))
STATE = np.repeat(np.arange(30) % 2, 5)
X = 4.0 * STATE[:, None] + RNG.normal(size=(150, 1))
ENCODER = hsmm.context.MLP(hidden=3, layers=1)


def begun(lengths: list[int] = LENGTHS, encoder: Any = ENCODER, n_restarts: int = 2) -> tuple[Model, Objective]:
    rows = Sequences.from_arrays(X, lengths, CONTEXT)
    chain = (hsmm.initials.FreeInitial(), hsmm.transitions.Contextual(self_transitions=True))
    structure = Model(*chain, None, hsmm.emissions.Gaussian(), context=encoder)
    return initial_model(structure, rows, draw_starts(rows, 2, n_restarts, 5, 0), 0), Objective(rows)


TRAINERS = {
    "em": "em",
    "hybrid": "hybrid",
    "adamw": AdamW(n_steps=40, every=5, batch=2, learning_rate=0.05),
    "gradient": hsmm.trainers.Gradient(n_steps=20),
    "lbfgs": hsmm.trainers.Gradient(optimiser="lbfgs", n_steps=20),
}


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_model_is_that_of_the_look_which_foretold_best(trainer: str) -> None:
    model = hsmm.HMM(2, context=ENCODER, n_init=2, max_iter=25, tol=0.0, trainer=TRAINERS[trainer], random_state=1)
    model.fit(X, LENGTHS, context=CONTEXT)
    rows = Sequences.from_arrays(X, LENGTHS, CONTEXT).in_canonical_order()
    _, judge = held_back(Objective(rows), 0.2)
    found = float(judge(model._model))
    curve = model.curves_["held_out"].to_numpy()
    assert found == pytest.approx(curve[1:].max(), rel=1e-9)
    assert model.score(X, LENGTHS, context=CONTEXT) == pytest.approx(model.log_likelihood_, rel=1e-12)
    assert set(model.restarts_["stopped"]) <= {"held_out", "max_iter"}


@pytest.mark.parametrize("lengths", [LENGTHS, [150], [100, 50]])
def test_what_is_held_back_teaches_nothing_and_is_all_of_the_rest(lengths: list[int]) -> None:
    model, objective = begun(lengths)
    seen, judge = held_back(objective, 0.2)
    assert 0.7 < seen.sequences.n_rows / 150 < 0.9
    whole = inference.log_partition(objective.potentials(model)).sum(1)
    told = inference.log_partition(seen.potentials(model)).sum(1)
    torch.testing.assert_close(judge(model) + told, whole)


def test_generalised_em_never_falls_and_moves_the_encoder() -> None:
    model, objective = begun()
    fit = hsmm.training.em.expectation_maximisation(model, objective, max_iter=6, tol=0.0)
    assert (fit.fall <= 1e-8).all()
    assert fit.model.context is not None
    assert model.context is not None
    for name, weight in model.context.free().items():
        assert (fit.model.context.parameters[name] != weight).flatten(1).any(1).all(), name


def test_a_frozen_encoder_stays_and_its_heads_have_intervals() -> None:
    first = hsmm.HMM(2, context=ENCODER, n_init=1, max_iter=5, tol=0.0).fit(X, LENGTHS, context=CONTEXT)
    with pytest.raises(ValueError, match="encoder 'mlp' was learnt"):
        first.confidence_intervals(X, LENGTHS, context=CONTEXT)
    again = hsmm.HMM(2, context=ENCODER, n_init=1, max_iter=200, tol=1e-6, frozen=("context",))
    again.fit(X, LENGTHS, context=CONTEXT, start=first)
    for name, weight in first._model.context.parameters.items():
        assert torch.equal(again._model.context.parameters[name], weight)
    table = again.confidence_intervals(X, LENGTHS, context=CONTEXT)
    assert not [name for name in table["parameter"] if name.startswith("context.")]


def stride(**changes: Any) -> Stride:
    plain = Stride(20, 0.05, 0.01, 50.0, 3, "cosine", 1.0)
    return replace(plain, **changes)


def test_a_walk_that_was_broken_off_comes_to_the_same_end(tmp_path: Path) -> None:
    model, objective = begun(encoder=hsmm.context.MLP(hidden=3, layers=1, dropout=0.3))
    trainer, leg = AdamW(n_steps=20, every=5, batch=3, patience=2), Leg(1, 0.0, accelerate=False)
    seen, judge = held_back(objective, 0.2)
    whole = trainer.learn(model, seen, judge, leg, 7)

    class BrokenOffError(Exception):
        pass

    def broken(_: torch.Tensor, steps: list[int] = []) -> None:  # noqa: B006 - counts the calls
        steps.append(1)
        if len(steps) == 12:
            raise BrokenOffError

    kept = replace(trainer, checkpoint=str(tmp_path))
    with pytest.raises(BrokenOffError):
        kept.learn(model, replace(seen, watch=broken), judge, leg, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["walk-7.safetensors"]
    again = kept.learn(model, seen, judge, leg, 7)
    assert torch.equal(again.curve, whole.curve)
    assert torch.equal(again.held_out, whole.held_out)
    for name, value in whole.model.free().items():
        assert torch.equal(again.model.free()[name], value)
    with pytest.raises(ValueError, match="checkpoint of another fit"):
        replace(kept, learning_rate=0.5).learn(model, seen, judge, leg, 7)
    (tmp_path / "walk-7.safetensors").write_text("no tensors")
    with pytest.raises(ValueError, match="no checkpoint"):
        kept.learn(model, seen, judge, leg, 7)


def test_restarts_walk_as_if_alone_their_gradients_cut_one_by_one() -> None:
    model, objective = begun()
    together = Walk(model, objective, stride(max_norm=0.1)).advance(4)[0]
    for restart in range(2):
        here = torch.tensor([restart])
        alone = Walk(model.take(here), objective, stride(max_norm=0.1)).advance(4)[0]
        for name, value in alone.free().items():
            torch.testing.assert_close(value, together.free()[name][here], rtol=1e-9, atol=1e-9)
    free = Walk(model, objective, stride(max_norm=1e9)).advance(4)[0]
    assert not torch.allclose(free.free()["emission.mean"], together.free()["emission.mean"], rtol=1e-6)


def test_a_batch_speaks_for_all_series() -> None:
    model, objective = begun()
    walk = Walk(model, objective, stride(batch=2))
    drawn = [walk._batch(torch.Generator().manual_seed(seed)) for seed in range(60)]
    mean = torch.stack([batch.total(inference.log_partition(batch.potentials(model))) for batch in drawn]).mean(0)
    whole = objective.total(inference.log_partition(objective.potentials(model)))
    torch.testing.assert_close(mean, whole, rtol=0.05, atol=0.0)


def test_schedules_end_low_and_heat_ends_in_the_middle() -> None:
    for schedule in ("cosine", "one_cycle"):
        rates = [stride(schedule=schedule).rate(step) for step in range(20)]
        assert rates[-1] < 0.1 * max(rates)
        assert max(rates) <= 0.05
    assert {stride(schedule="constant").rate(step) for step in range(20)} == {0.05}
    heats = [stride(temperature=8.0).heat(step) for step in range(20)]
    assert heats[0] == 8.0
    assert heats == sorted(heats, reverse=True)
    assert set(heats[10:]) == {1.0}


def test_what_an_encoder_drops_it_drops_in_training_alone() -> None:
    model, objective = begun(encoder=hsmm.context.MLP(hidden=3, layers=1, dropout=0.5))
    one, other = (objective.potentials(model).log_transition for _ in range(2))
    assert torch.equal(one, other)
    noisy = replace(objective, drop=torch.Generator().manual_seed(0)).potentials(model)
    assert model.context is not None
    features = model.context.features(objective.sequences, torch.Generator().manual_seed(0))
    dropped = (features == 0.0).double().mean()
    assert 0.3 < float(dropped) < 0.7
    assert torch.isfinite(noisy.log_transition).all()


@pytest.mark.parametrize(
    "wrong",
    [{"n_steps": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"max_norm": 0.0}, {"temperature": 0.5}, {"held_out": 1.0},
     {"schedule": "cosin"}, {"weight_decay": -1.0}],
)  # fmt: skip
def test_options_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AdamW(**wrong)


def test_heat_is_part_of_the_slope() -> None:
    model, objective = begun(n_restarts=1)
    hot, coordinates = replace(objective, temperature=3.0), Coordinates(model, frozenset())
    x = coordinates.of(model)
    toward = 1e-6 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    ahead, behind = (slope(coordinates, hot, x + sign * toward).value for sign in (1.0, -1.0))
    found = (slope(coordinates, hot, x).gradient * toward).sum(1)
    torch.testing.assert_close(found, 0.5 * (ahead - behind), rtol=1e-5, atol=1e-11)
