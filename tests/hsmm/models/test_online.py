"""A stream teaches what all its rows together would."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hsmm
from hsmm.training.m_step import maximise
from hsmm.training.online import _is_additive, _summarised, averages, step_size
from tests.hsmm.components.cases import EmissionCase, emission_cases

pytestmark = pytest.mark.filterwarnings("ignore::hsmm.errors.DurationWallWarning")
RNG = np.random.default_rng(0)
TRUTH = {
    "gaussian": hsmm.HMM.from_parameters(
        initial_prob=[0.5, 0.5],
        transition_prob=[[0.9, 0.1], [0.2, 0.8]],
        emission=hsmm.emissions.Gaussian.from_parameters(
            mean=[[0.0, 0.0], [2.0, -1.0]], covariance=[[[1.0, 0.4], [0.4, 1.0]], [[0.5, 0.0], [0.0, 2.0]]]
        ),
    ),
    "poisson": hsmm.HMM.from_parameters(
        initial_prob=[0.5, 0.5],
        transition_prob=[[0.95, 0.05], [0.1, 0.9]],
        emission=hsmm.emissions.Poisson.from_parameters(rate=[[1.0], [6.0]]),
    ),
    "exponential": hsmm.HMM.from_parameters(
        initial_prob=[0.5, 0.5],
        transition_prob=[[0.95, 0.05], [0.1, 0.9]],
        emission=hsmm.emissions.Exponential.from_parameters(mean=[[1.0, 8.0], [9.0, 2.0]]),
    ),
    "segments": hsmm.HSMM.from_parameters(
        initial_prob=[0.5, 0.5],
        transition_prob=[[0.0, 1.0], [1.0, 0.0]],
        duration_prob=[[0.0, 0.1, 0.3, 0.6], [0.5, 0.3, 0.1, 0.1]],
        emission=hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [3.0]], covariance=[[1.0], [1.0]]),
    ),
}
LENGTHS = [150, 50]
ADDITIVE = [
    case
    for case in emission_cases()
    if _is_additive(case.component, case.sequences.n_features)
    and not case.component.uses_covariates
    and (case.is_complete or case.component.sufficient != "moments")
]


def batches(name: str, n: int) -> list[np.ndarray]:
    return [
        np.concatenate([TRUTH[name].sample(length, random_state=2 * i + s)[0] for s, length in enumerate(LENGTHS)])
        for i in range(n)
    ]


def near(name: str) -> hsmm.HMM:
    """A fitted model that is not yet at the truth."""
    options = {"duration": "categorical", "max_duration": 4} if name == "segments" else {}
    emission = TRUTH[name].emission_.bare()
    kind = hsmm.HSMM if name == "segments" else hsmm.HMM
    model = kind(2, emission=emission, n_init=4, max_iter=3, tol=0.0, **options)
    return model.fit(batches(name, 1)[0], LENGTHS)


@pytest.mark.parametrize("name", TRUTH)
class TestEveryStream:
    def test_its_first_batch_is_an_em_step(self, name: str) -> None:
        X = batches(name, 2)[1]
        model = near(name)
        sequences = hsmm.Sequences.from_arrays(X, LENGTHS)
        counts = hsmm.inference.posterior(model._model.potentials(sequences))
        expected = maximise(model._model, sequences, counts).components()
        for kind, part in model.partial_fit(X, LENGTHS)._model.components().items():
            for parameter, value in part.parameters.items():
                assert value.numpy() == pytest.approx(expected[kind].parameters[parameter].numpy(), rel=1e-8, abs=1e-10)

    def test_many_batches_come_close_to_a_fit_of_all(self, name: str) -> None:
        stream = batches(name, 60)
        model = near(name)
        for batch in stream:
            model.partial_fit(batch, LENGTHS)
        everything, lengths = np.concatenate(stream), LENGTHS * len(stream)
        whole = near(name).clone().set_params(max_iter=300, tol=1e-8).fit(everything, lengths)
        lost = (whole.log_likelihood_ - model.score(everything, lengths)) / len(everything)
        assert lost < 0.003
        assert model.transition_prob_ == pytest.approx(whole.transition_prob_, abs=0.03)

    def test_frozen_tables_stay(self, name: str) -> None:
        model = near(name).set_params(frozen=("emission",))
        before = model.emission_
        model.partial_fit(batches(name, 2)[1], LENGTHS)
        for parameter, value in before.parameters.items():
            assert np.array_equal(model.emission_.parameters[parameter], value)


@pytest.mark.parametrize("case", ADDITIVE, ids=lambda case: case.name)
def test_few_rows_teach_what_many_would(case: EmissionCase) -> None:
    one = torch.tensor([0])
    law, weights, data = case.random(0).take(one), case.statistics(0)["counts"][one], case.sequences
    few, their_weights = _summarised(data.values, data.observed, weights, data.moments, law)
    assert few.n_rows < data.n_rows
    assert torch.equal(few.moments[1], data.moments[1])
    for name, value in law.maximise(data, weights).parameters.items():
        torch.testing.assert_close(law.maximise(few, their_weights).parameters[name], value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["gaussian", "poisson", "exponential"])
def test_a_step_mixes_the_statistics_of_what_was_and_what_comes(name: str) -> None:
    step, model = 0.3, near(name)._model
    rows = [hsmm.Sequences.from_arrays(X, LENGTHS) for X in batches(name, 3)[1:]]
    seen = [hsmm.inference.posterior(model.potentials(part)) for part in rows]
    shares = [(1.0 - step) / rows[0].n_rows, step / rows[1].n_rows]
    before, after = (averages(model, part) for part in rows)
    mixed = before.then(after, step, model.emission)
    assert (mixed.n_rows, mixed.n_series, mixed.n_batches) == (400, 4, 2)
    together = hsmm.Sequences.from_arrays(torch.cat([part.values for part in rows]), LENGTHS * 2)
    weights = torch.cat([share * counts.state for share, counts in zip(shares, seen, strict=True)], 1)
    expected = model.emission.maximise(together, weights).parameters
    found = mixed.maximised(model, frozenset())
    for parameter, value in found.emission.parameters.items():
        torch.testing.assert_close(value, expected[parameter], rtol=1e-8, atol=1e-10)
    moves = sum(share * counts.transition for share, counts in zip(shares, seen, strict=True))
    torch.testing.assert_close(found.transition.parameters["probability"], moves / moves.sum(-1, keepdim=True))
    firsts = (1.0 - step) * seen[0].initial / 2 + step * seen[1].initial / 2
    torch.testing.assert_close(found.initial.parameters["probability"], firsts / firsts.sum(-1, keepdim=True))
    for one, other in zip(mixed.summary.moments, together.moments, strict=True):
        torch.testing.assert_close(one, other)


def test_an_unfitted_model_is_fitted_to_the_first_batch() -> None:
    X = batches("gaussian", 1)[0]
    model = hsmm.HMM(2, n_init=2)
    streamed = model.clone().partial_fit(X, LENGTHS)
    assert np.array_equal(streamed.emission_.mean_, model.fit(X, LENGTHS).emission_.mean_)
    assert streamed.partial_fit(X, LENGTHS).log_likelihood_ == pytest.approx(streamed.score(X, LENGTHS), rel=1e-12)


def test_steps_shrink_but_their_sum_does_not_end() -> None:
    steps = [step_size(n, 0.7) for n in range(200)]
    assert steps[0] == 1.0
    assert (np.diff(steps) < 0).all()
    assert sum(steps) > 10.0


def test_what_a_stream_cannot_teach_is_refused() -> None:
    X = batches("gaussian", 1)[0]
    gappy = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
    with pytest.raises(ValueError, match="student_t"):
        hsmm.HMM(2, emission="student_t", n_init=1, max_iter=2, tol=0.0).partial_fit(X)
    with pytest.raises(ValueError, match="missing cells"):
        hsmm.HMM(2, n_init=1, max_iter=2, tol=0.0).partial_fit(gappy)
    with pytest.raises(ValueError, match="decay"):
        hsmm.HMM(2).partial_fit(X, decay=0.5)
