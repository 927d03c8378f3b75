"""A loop over series, numbers of states and restarts, as a user of hmmlearn writes it; the best by BIC is kept.

python loop.py SERIES.npy N_INIT K...    # in an environment that has hmmlearn: CPU seconds a series, as JSON
"""

import json
import logging
import sys
import time

import numpy as np
from hmmlearn.hmm import GaussianHMM

_TOLERANCE = 1e-8
"""Nats a row below which a fit stops, as in this library."""


def best(x: np.ndarray, sizes: list[int], n_init: int) -> float:
    """The least BIC of one series (n_rows, 1)."""
    found = []
    for n_states in sizes:
        for seed in range(n_init):
            model = GaussianHMM(
                n_states, "diag", n_iter=1000, tol=_TOLERANCE * len(x), implementation="scaling", random_state=seed
            )
            found.append(model.fit(x).bic(x))
    return float(min(found))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    series = np.load(sys.argv[1])
    n_init, *sizes = map(int, sys.argv[2:])
    started = time.process_time()
    for x in series:
        best(x[:, None], sizes, n_init)
    json.dump({"each": (time.process_time() - started) / len(series)}, sys.stdout)
