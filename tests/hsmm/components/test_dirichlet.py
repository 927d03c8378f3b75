"""Modes of Dirichlet posteriors, where they lie on the boundary too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import hsmm
from hsmm.components.dirichlet import FLOOR, dirichlet_log_density, dirichlet_mode
from hsmm.components.initial import FreeInitial
from hsmm.components.transition import Dense
from tests.hsmm.models.cases import LENGTHS, regimes

pytestmark = pytest.mark.filterwarnings("ignore:.*single row:hsmm.errors.DataWarning")


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def objective(p: torch.Tensor, counts: torch.Tensor, concentration: float | torch.Tensor) -> torch.Tensor:
    return torch.xlogy(counts, p).sum(-1) + dirichlet_log_density(p, concentration)


def test_cells_that_a_sparse_prior_empties_lie_on_the_floor_and_the_others_share_the_rest() -> None:
    found = dirichlet_mode(row(0.2, 3.0, 1.5), 0.5, row(0.4, 0.3, 0.3))
    expected = row(FLOOR, 2.5 / 3.5 * (1.0 - FLOOR), 1.0 / 3.5 * (1.0 - FLOOR))
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0.0)
    assert dirichlet_log_density(found, 0.5).isfinite().all()


def test_a_share_below_the_floor_is_raised_to_it() -> None:
    found = dirichlet_mode(row(0.5 + 1e-13, 3.0, 1.5), 0.5, row(0.4, 0.3, 0.3))
    assert found[0, 0] == FLOOR
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-15)


def test_a_row_without_any_positive_weight_goes_to_its_best_cell() -> None:
    found = dirichlet_mode(row(0.2, 0.1, 0.4), 0.5, row(0.8, 0.1, 0.1))
    torch.testing.assert_close(found, row(FLOOR, FLOOR, 1.0 - 2 * FLOOR), rtol=1e-14, atol=0.0)
    even = dirichlet_mode(row(0.0, 0.0, 0.0), 0.5, row(0.2, 0.5, 0.3))
    assert even.argmax() == 1, "among equals, the likeliest so far"


def test_cells_without_prior_or_counts_keep_their_proportions() -> None:
    found = dirichlet_mode(row(0.0, 0.0, 0.0), row(1.0, 1.0, 0.5)[0], row(0.2, 0.6, 0.2))
    torch.testing.assert_close(found, row(0.25, 0.75, 0.0) * (1 - FLOOR) + row(0.0, 0.0, FLOOR), rtol=1e-14, atol=0.0)


def test_forbidden_cells_stay_at_zero_under_a_sparse_prior() -> None:
    found = dirichlet_mode(row(0.0, 4.0, 0.1), 0.3, row(0.0, 0.5, 0.5), allowed=row(0.0, 1.0, 1.0) > 0)
    assert found[0, 0] == 0.0
    assert found[0, 2] == FLOOR


def test_no_law_above_the_floor_is_better() -> None:
    generator = torch.Generator().manual_seed(0)
    for trial in range(40):
        counts = 2.0 * torch.rand((1, 4), generator=generator, dtype=torch.float64) ** 3
        prior = 0.05 + 1.5 * torch.rand(4, generator=generator, dtype=torch.float64)
        found = dirichlet_mode(counts, prior, row(0.25, 0.25, 0.25, 0.25))
        reached = float(objective(found, counts, prior))
        sparse = (prior < 1.0).double()
        rivals = -(torch.rand((20000, 4), generator=generator, dtype=torch.float64).log() ** (1 + trial % 4))
        rivals = rivals / rivals.sum(-1, keepdim=True)
        rivals = rivals * (1 - FLOOR * sparse.sum()) + FLOOR * sparse
        assert float(objective(rivals, counts, prior).max()) <= reached + 1e-9


def test_the_interior_mode_is_the_textbook_one() -> None:
    counts, prior = row(3.0, 1.2, 0.9), torch.tensor([0.7, 2.0, 0.5], dtype=torch.float64)
    found = dirichlet_mode(counts, prior, row(0.3, 0.3, 0.4))
    result = minimize(
        lambda x: -float(objective(torch.softmax(torch.tensor([[*x, 0.0]]), -1), counts, prior)), [0.0, 0.0], tol=1e-12
    )
    np.testing.assert_allclose(found[0], torch.softmax(torch.tensor([*result.x, 0.0]), -1), atol=1e-5)


@pytest.mark.parametrize("concentration", [0.3, 0.9])
def test_a_sparse_prior_empties_moves_and_the_climb_stays_monotone(concentration: float) -> None:
    law = {"transition": Dense(concentration=concentration), "initial": FreeInitial(concentration=concentration)}
    model = hsmm.HMM(4, n_init=6, **law).fit(regimes(), [*LENGTHS])
    assert model._best.fall <= 1e-8
    assert np.isfinite(model.history_).all()
    assert model.transition_prob_.min() >= FLOOR * (1 - 1e-9)
    assert (model.transition_prob_ < 2 * FLOOR).any()


def test_priors_of_one_state_each_keep_the_states_numbers() -> None:
    assert Dense(concentration=((2.0, 1.0), (1.0, 2.0))).is_exchangeable
    assert not Dense(concentration=((2.0, 1.0), (1.0, 3.0))).is_exchangeable
    assert not FreeInitial(concentration=[1.0, 2.0]).is_exchangeable
    assert FreeInitial(concentration=np.array([2, 2])).concentration == (2.0, 2.0)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, "1", [1.0, 2.0], [[1.0, 0.0], [1.0, 1.0]]])
def test_what_is_no_concentration_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="concentration is"):
        Dense(concentration=bad)


def test_a_concentration_of_another_size_is_refused() -> None:
    law = FreeInitial(concentration=(1.0, 2.0))
    with pytest.raises(ValueError, match=r"concentration has shape \(2,\), but the model needs \(3,\)"):
        hsmm.HMM(3, initial=law, n_init=1).fit(regimes(), LENGTHS)


@pytest.mark.parametrize("concentration", [0.5, 1.0, 3.0])
def test_impossible_moves_have_no_slope(concentration: float) -> None:
    law = Dense.from_parameters([[0.0, 0.4, 0.6], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]], concentration=concentration)
    free = law.free()["probability"].requires_grad_()
    made = law.with_free({"probability": free})
    (made.log_potentials().exp() ** 2).sum().add(made.log_prior().sum()).backward()
    assert free.grad is not None
    assert free.grad.isfinite().all()
    assert (free.grad[law.parameters["probability"] == 0.0] == 0.0).all()
