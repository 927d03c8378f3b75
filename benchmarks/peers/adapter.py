"""What the file of a peer defines: a class ``Adapter``. NumPy only.

A peer that cannot do a thing leaves the method out.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Protocol

from benchmarks.works import Task

Ending = Literal["open", "closed"]


class Adapter(Protocol):
    """One library on one task; making it loads the data and compiles what is compiled once.

    - ``iterate(n)``: n EM iterations (or gradient steps) from a start. Only the difference of two calls is used.
    - ``decode()``: the Viterbi path of the data.
    - ``e_step()``: one E-step alone.
    - ``log_likelihood()``: at the true parameters; ``ending`` says whether a segment must end with its series
      ("closed") or may run on ("open"). For an HMM the two are the same.
    - ``fit()``: the log-likelihood that a whole fit reaches, ``n_iter`` its iterations; for work g, whose adapters have
      a function ``load`` for its task.
    """

    ending: ClassVar[Ending]

    def __init__(self, task: Task, n_restarts: int) -> None: ...
    def iterate(self, n: int) -> Any: ...
    def decode(self) -> Any: ...
    def e_step(self) -> Any: ...
    def log_likelihood(self) -> float: ...
