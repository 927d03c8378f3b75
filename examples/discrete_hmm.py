"""Weather seen through a diary: a hidden Markov model over symbols, learnt by gradient and by EM.

Run from the project's top folder; ends with a picture, out/discrete_hmm.png. The data, the priors and the gradient's
recipe follow the Pyro tutorial on discrete hidden Markov models, so that the figures can be compared.
"""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

import hsmm

mpl.use("Agg")
import matplotlib.pyplot as plt

INITIAL = np.array([0.6, 0.4])  # rainy, sunny
MOVES = np.array([[0.7, 0.3], [0.4, 0.6]])
EMITS = np.array([[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]])  # walk, shop, clean
TRUTH = hsmm.HMM.from_parameters(
    initial_prob=INITIAL, transition_prob=MOVES, emission=hsmm.emissions.Categorical.from_parameters(EMITS)
)


def diary(n_series: int, n_steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Activities and weather (n_series · n_steps,), the same numbers as the tutorial's."""
    generator = torch.Generator().manual_seed(seed)
    initial, moves, emits = (torch.tensor(table, dtype=torch.float32) for table in (INITIAL, MOVES, EMITS))
    days, weather = [], []
    for _ in range(n_series):
        law = initial
        for _ in range(n_steps):
            state = int(torch.multinomial(law, 1, generator=generator))
            days.append(int(torch.multinomial(emits[state], 1, generator=generator)))
            weather.append(state)
            law = moves[state]
    return np.array(days), np.array(weather)


def prior_draw(seed: int) -> hsmm.HMM:
    """A model whose tables are draws from flat Dirichlet priors: where the gradient starts."""
    torch.manual_seed(seed)
    drawn = [torch.distributions.Dirichlet(torch.ones(shape)).sample().double() for shape in [(2,), (2, 2), (2, 3)]]
    initial, moves, emits = ((table / table.sum(-1, keepdim=True)).numpy() for table in drawn)
    emission = hsmm.emissions.Categorical.from_parameters(emits)
    return hsmm.HMM.from_parameters(initial_prob=initial, transition_prob=moves, emission=emission)


def named_as_the_truth(model: hsmm.HMM) -> hsmm.HMM:
    """The model with its states numbered as the true ones that emit alike: no numbering is learnt, so one is chosen."""
    numberings = (model.permuted(order) for order in itertools.permutations(range(2)))
    return min(numberings, key=lambda m: float(np.abs(m.emission_.probability_.reshape(2, 3) - EMITS).sum()))


def errors(model: hsmm.HMM) -> tuple[float, float, float]:
    """Largest absolute error of the initial, transition and emission probabilities."""
    emits = model.emission_.probability_.reshape(2, 3)
    pairs = [(model.initial_prob_, INITIAL), (model.transition_prob_, MOVES), (emits, EMITS)]
    return tuple(float(np.abs(found - true).max()) for found, true in pairs)


def consistency(sizes: list[int], n_data_sets: int = 5) -> dict[int, np.ndarray]:
    """By number of series: (data sets, 2) errors of the moves and of the emissions, by EM."""
    found = {}
    for n_series in sizes:
        rows = []
        for seed in range(n_data_sets):
            days, lengths = diary(n_series, 60, 100 + seed)[0], [60] * n_series
            model = hsmm.HMM(2, emission="categorical", n_init=4).fit(days, lengths)
            rows.append(errors(named_as_the_truth(model))[1:])
        found[n_series] = np.array(rows)
    return found


def picture(
    models: dict[str, hsmm.HMM], curve: dict[int, np.ndarray], weather: np.ndarray, decoded: np.ndarray
) -> Path:
    """Climbs, consistency and the decoded weather, as a PNG."""
    figure, axes = plt.subplot_mosaic("AB;CC", figsize=(10, 6), layout="constrained")
    climbs, consistent, below = axes["A"], axes["B"], axes["C"]
    for name, model in models.items():
        climbs.plot(model.history_, label=name)
    climbs.set(
        title="Two climbs of one likelihood", xlabel="iteration", ylabel="log-likelihood (nats)", xscale="symlog"
    )
    climbs.set_ylim(-6700, -6500)
    climbs.legend(frameon=False)
    for column, name in enumerate(("transition", "emission")):
        mean, spread = (f([e[:, column] for e in curve.values()], axis=1) for f in (np.mean, np.std))
        consistent.errorbar(list(curve), mean, spread, marker="o", capsize=3, label=name)
    consistent.set(title="More data, less error", xlabel="series of 60 days", ylabel="largest error", xscale="log")
    consistent.set_xticks(list(curve), [str(n) for n in curve])
    consistent.legend(frameon=False)
    for row, (name, states) in enumerate({"decoded": decoded, "true": weather}.items()):
        below.imshow(states[None], aspect="auto", cmap="cividis", extent=(0, len(states), row - 0.4, row + 0.4))
        below.text(-2, row, name, ha="right", va="center")
    below.set(title="Weather of a new diary: rainy dark, sunny light", xlabel="day", ylim=(-0.6, 1.6), yticks=[])
    path = Path("out/discrete_hmm.png")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def main() -> None:
    """Learn, compare, decode, draw."""
    days, _ = diary(60, 100, seed=1)
    lengths = [100] * 60
    adam = hsmm.trainers.Gradient("adam", learning_rate=0.05, n_steps=400)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hsmm.errors.ConvergenceWarning)  # the recipe stops after 400 steps
        by_gradient = hsmm.HMM(2, emission="categorical", n_init=1, trainer=adam)
        by_gradient.fit(days, lengths, start=prior_draw(0))
    by_em = hsmm.HMM(2, emission="categorical", n_init=8).fit(days, lengths)
    models = {"Adam, 400 steps": by_gradient, "EM, best of 8": by_em}
    models = {name: named_as_the_truth(model) for name, model in models.items()}

    print(f"{'':18}log-likelihood   errors: initial, transition, emission")
    print(f"{'truth':18}{TRUTH.score(days, lengths):14.2f}")
    for name, model in models.items():
        print(f"{name:18}{model.log_likelihood_:14.2f}   " + "  ".join(f"{error:.3f}" for error in errors(model)))

    new_days, weather = diary(1, 200, seed=123)
    decoded = {name: model.predict(new_days) for name, model in {"truth": TRUTH, **models}.items()}
    for name, states in decoded.items():
        right, agreed = (states == weather).mean(), (states == decoded["truth"]).mean()
        print(f"{name:18}decodes {right:.3f} of 200 new days, as the true model does on {agreed:.3f}")

    curve = consistency([10, 40, 160])
    for n_series, found in curve.items():
        moves, emits = (f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(found.mean(0), found.std(0), strict=True))
        print(f"{n_series:4} series         transition {moves}, emission {emits}")
    print("picture           ", picture(models, curve, weather, decoded["EM, best of 8"]))


if __name__ == "__main__":
    main()
