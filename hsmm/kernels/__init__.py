"""Exact recursions over :class:`hsmm.potentials.Potentials`, one back end a module.

Every back end exports the same functions with the same arguments and results:

- ``log_partition(p)`` → (R, S)
- ``expected_counts(p, series_weight=None)`` → Posterior, each series counted ``series_weight`` (R, S) times
- ``filtered(p)`` → Filtered
- ``viterbi(p)`` → Decoded
- ``elapsed(p)``, ``remaining(p)`` → (R, N, D)
- ``sample_paths(p, n, generator)`` → (n, R, N)

and ``supports(p)``, which says whether it can. ``reference`` defines what is correct.
"""
