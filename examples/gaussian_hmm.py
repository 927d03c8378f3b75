"""Three levels of a signal: a hidden Markov model with Gaussian emissions, learnt by gradient (MAP) and by EM.

Run from the project's top folder; ends with a picture, out/gaussian_hmm.png. The signal follows the Pyro tutorial on
Gaussian hidden Markov models, so that the figures can be compared.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

import hsmm

mpl.use("Agg")
import matplotlib.pyplot as plt

INITIAL = np.array([0.5, 0.3, 0.2])  # low, middle, high
MOVES = np.array([[0.80, 0.15, 0.05], [0.10, 0.80, 0.10], [0.05, 0.15, 0.80]])
LEVELS, SPREAD = np.array([0.0, 5.0, 10.0]), 0.7
TRUTH = hsmm.HMM.from_parameters(
    initial_prob=INITIAL,
    transition_prob=MOVES,
    emission=hsmm.emissions.Gaussian.from_parameters(mean=LEVELS[:, None], covariance=np.full((3, 1, 1), SPREAD**2)),
)
COLOURS = ("#0072B2", "#E69F00", "#009E73")


def signal(n_series: int, n_steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and levels (n_series · n_steps,), the same numbers as the tutorial's."""
    generator = torch.Generator().manual_seed(seed)
    initial, moves = torch.tensor(INITIAL, dtype=torch.float32), torch.tensor(MOVES, dtype=torch.float32)
    values, levels = [], []
    for _ in range(n_series):
        law = initial
        for _ in range(n_steps):
            state = int(torch.multinomial(law, 1, generator=generator))
            values.append(5.0 * state + SPREAD * float(torch.randn(1, generator=generator)))
            levels.append(state)
            law = moves[state]
    return np.array(values), np.array(levels)


def errors(model: hsmm.HMM) -> tuple[float, ...]:
    """Largest absolute error of initial and transition probabilities, means and standard deviations."""
    spread = np.sqrt(model.emission_.covariance_[:, 0, 0])
    pairs = [(model.initial_prob_, INITIAL), (model.transition_prob_, MOVES)]
    pairs += [(model.emission_.mean_[:, 0], LEVELS), (spread, SPREAD)]
    return tuple(float(np.abs(found - true).max()) for found, true in pairs)


def densities(axes: plt.Axes, model: hsmm.HMM, values: np.ndarray, share: np.ndarray) -> None:
    """The learnt densities, weighted by how often each state is occupied, over a histogram."""
    axes.hist(values, bins=80, density=True, color="#DDDDDD")
    grid = np.linspace(values.min(), values.max(), 400)
    mean, variance = model.emission_.mean_[:, 0], model.emission_.covariance_[:, 0, 0]
    for state, colour in enumerate(COLOURS):
        density = np.exp(-((grid - mean[state]) ** 2) / (2 * variance[state])) / np.sqrt(2 * np.pi * variance[state])
        axes.plot(grid, share[state] * density, color=colour)
    axes.set(title="What was learnt, over the data", xlabel="value", ylabel="density")


def picture(models: dict[str, hsmm.HMM], values: np.ndarray, share: np.ndarray, seed: int) -> Path:
    """Climbs, densities and the decoded signal, as a PNG."""
    figure, axes = plt.subplot_mosaic("AB;CC", figsize=(10, 6), layout="constrained")
    climbs, learnt, below = axes["A"], axes["B"], axes["C"]
    for name, model in models.items():
        climbs.plot(model.history_, label=name)
    climbs.set(title="Two climbs", xlabel="iteration", ylabel="objective (nats)", xscale="symlog")
    climbs.legend(frameon=False, loc="lower right")
    densities(learnt, models["EM, best of 4"], values, share)
    fresh, levels = signal(1, 160, seed)
    states = models["EM, best of 4"].predict(fresh)
    below.plot(fresh, color="#999999", linewidth=0.8)
    below.scatter(np.arange(160), fresh, c=[COLOURS[state] for state in states], s=14)
    right = (states == levels).mean()
    below.set(title=f"A new signal, decoded: {right:.1%} of the steps are right", xlabel="step", ylabel="value")
    path = Path("out/gaussian_hmm.png")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def main() -> None:
    """Learn by both ways, compare, decode, draw."""
    values, _ = signal(30, 120, seed=1)
    lengths = [120] * 30
    by_em = hsmm.HMM(3, n_init=4).fit(values, lengths)
    # A little prior on the moves, so that this is the mode of a posterior and not only of the likelihood.
    adam = hsmm.trainers.Gradient("adam", learning_rate=0.05, n_steps=250)
    prior = hsmm.transitions.Dense(concentration=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hsmm.errors.ConvergenceWarning)  # the recipe stops after 250 steps
        by_gradient = hsmm.HMM(3, transition=prior, n_init=3, trainer=adam).fit(values, lengths)
    models = {"MAP by Adam, 3 starts": by_gradient, "EM, best of 4": by_em}

    print(f"{'':24}log-likelihood   errors: initial, transition, mean, standard deviation")
    print(f"{'truth':24}{TRUTH.score(values, lengths):14.4f}")
    for name, model in models.items():
        print(f"{name:24}{model.log_likelihood_:14.4f}   " + "  ".join(f"{error:.3f}" for error in errors(model)))

    fresh, levels = signal(1, 160, seed=77)
    for name, model in {"truth": TRUTH, **models}.items():
        print(f"{name:24}decodes {(model.predict(fresh) == levels).mean():.3f} of 160 new steps")
    share = by_em.predict_proba(values, lengths).mean(axis=0)
    print("picture                 ", picture(models, values, share, seed=77))


if __name__ == "__main__":
    main()
