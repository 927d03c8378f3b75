"""Exact recursions over :class:`hsmm.potentials.Potentials`, one back end a module.

Every back end exports the same functions with the same arguments and results:

- ``log_partition(p)`` → (R, S)
- ``expected_counts(p, series_weight=None)`` → Posterior, each series counted ``series_weight`` (R, S) times
- ``filtered(p, after=None)`` → Filtered; ``after`` is the FilterState that the rows go on from
- ``elapsed(p, after=None)``, ``remaining(p, after=None)`` → (R, N, D)
- ``filter_state(p, after=None)`` → FilterState
- ``smoothed(p, lag)`` → (R, N, K)
- ``viterbi(p)`` → Decoded
- ``sample_paths(p, n, generator)`` → (n, R, N)

and ``supports(p)``, which says whether it can. ``reference`` defines what is correct.
"""
