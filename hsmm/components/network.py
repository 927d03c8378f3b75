"""Networks that make numbers of a state and, where they read one, of the context of a row: one hidden layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from torch import Tensor

from hsmm.components.base import Component, Constraint
from hsmm.components.context import by_blocks
from hsmm.components.context.base import check_whole
from hsmm.components.covariates import OnCovariates
from hsmm.components.head import check_penalty, standard, units
from hsmm.components.quasi_newton import Ascent
from hsmm.sequences import Sequences

_N_STEPS, _STILL = 25, 1e-13
_SEED = 7  # of first layers, which mean nothing until the second is fitted to them

Network = TypeVar("Network", bound=Component)


@dataclass(frozen=True, kw_only=True, eq=False)
class StateNetwork(OnCovariates):
    """P numbers of state k: bias + weight · tanh(embed_k + gate · context), ``hidden`` units wide.

    Of a one-hot state a first layer takes a row: ``embed`` (R, K, H). ``gate`` (R, C, H), ``weight`` (R, H, P) and
    ``bias`` (R, P) are shared by the states, and ``gate`` is there only where the network ``reads_context``, which
    begins without effect and stands in standard deviations of the fit, ``centre`` and ``spread`` (R, C). There
    ``penalty`` / 2 · Σ (embed² + gate² + weight²) is its log-prior; a table of K states has none.

    Raises ``ValueError`` in a fit of more states than hidden units, whose numbers could not differ freely.
    """

    hidden: int = 32
    reads_context: bool = False
    penalty: float = 0.1

    def __post_init__(self) -> None:
        check_whole("hidden", self.hidden)
        check_penalty(self.penalty)
        if self.columns is not None and not self.reads_context:
            raise ValueError(f"columns are {list(self.columns)}, but the network reads none; add reads_context=True.")

    @property
    def uses_covariates(self) -> bool:  # type: ignore[override]
        return self.reads_context

    @property
    def is_countable(self) -> bool:  # type: ignore[override]
        return not self.reads_context

    @property
    def network_axes(self) -> dict[str, tuple[int, ...]]:
        """State axes of the network's own parameters."""
        axes: dict[str, tuple[int, ...]] = {"embed": (1,), "weight": (), "bias": ()}
        return axes | ({"gate": (), "centre": (), "spread": ()} if self.reads_context else {})

    def fitted_to(self, numbers: Tensor) -> Self:
        """A network that makes these numbers (R, K, P) of the states, whatever the context."""
        r, k, _ = numbers.shape
        if k > self.hidden:
            raise ValueError(f"hidden is {self.hidden} for {k} states; expected at least as many.")
        generator = torch.Generator().manual_seed(_SEED)
        embed = torch.randn((r, k, self.hidden), generator=generator, dtype=torch.float64).to(numbers)
        bias = numbers.mean(1)
        blank = numbers.new_zeros(r, self.hidden, numbers.shape[2])
        return self.with_parameters(embed=embed, weight=blank, bias=bias).led_to(numbers)

    def led_to(self, numbers: Tensor) -> Self:
        """This network with a second layer that makes these numbers (R, K, P) of the states."""
        embed, weight, bias = (self.parameters[name] for name in ("embed", "weight", "bias"))
        missing = numbers - embed.tanh() @ weight - bias.unsqueeze(1)
        return self.with_parameters(weight=weight + torch.linalg.pinv(embed.tanh()) @ missing)

    def beside(self, sequences: Sequences) -> Self:
        if not self.reads_context:
            return self
        embed = self.parameters["embed"]
        centre, spread = (x.to(embed) for x in units(self.design(sequences), len(embed)))
        gate = embed.new_zeros(len(embed), centre.shape[-1], self.hidden)
        return self.with_parameters(gate=gate, centre=centre, spread=spread)

    def standard(self, sequences: Sequences) -> Tensor | None:
        """(R, N, C) the context in the units of the fit; None where none is read."""
        if not self.reads_context:
            return None
        context = self.design(sequences, self.parameters["centre"].shape[-1])
        return standard(context, self.parameters["centre"], self.parameters["spread"])

    def numbers(self, context: Tensor | None = None) -> Tensor:
        """(R, N, K, P) for a standardised context (R, N, C); (R, 1, K, P) at its mean, or where none is read."""
        embed = self.parameters["embed"].unsqueeze(1)
        if context is not None:
            embed = embed + _product(context, self.parameters["gate"]).unsqueeze(2)
        r, n, k, h = embed.shape
        found = _product(embed.tanh().view(r, n * k, h), self.parameters["weight"])
        return found.view(r, n, k, -1) + self.parameters["bias"].view(r, 1, 1, -1)

    def gated(self, context: Tensor | None) -> Tensor | None:
        """(R, M, H) what a standardised context (R, M, C) adds to the first layer."""
        return None if context is None else context @ self.parameters["gate"]

    def numbers_of(self, states: Tensor, gated: Tensor | None = None) -> Tensor:
        """(R, M, P) for mixed states (R, M, K), whose weights sum to one, and what :meth:`gated` adds to them."""
        first = states @ self.parameters["embed"]
        first = first if gated is None else first + gated
        return first.tanh() @ self.parameters["weight"] + self.parameters["bias"].unsqueeze(1)

    def log_prior(self) -> Tensor:
        if not self.reads_context:
            return super().log_prior()
        shrunk = [self.parameters[name].square().flatten(1).sum(1) for name in ("embed", "gate", "weight")]
        return -0.5 * self.penalty * torch.stack(shrunk).sum(0)

    def constraints(self) -> Mapping[str, Constraint]:
        return dict.fromkeys(self.network_axes.keys() - {"centre", "spread"}, "real")

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        made = self.with_parameters(**coordinates)
        if not self.reads_context:
            return made
        read = (made.parameters["spread"] > 0).unsqueeze(-1)
        return made.with_parameters(gate=torch.where(read, made.parameters["gate"], 0.0))

    def n_network(self, n_outputs: int) -> int:
        """Free numbers of a network with so many outputs; without context, of the table that it makes of K states."""
        k = self.parameters["embed"].shape[1]
        if not self.reads_context:
            return k * n_outputs
        n_columns = int((self.parameters["spread"][0] > 0).sum())
        return self.hidden * (k + n_columns) + (self.hidden + 1) * n_outputs

    def check_network(self, n_outputs: int) -> None:
        """Raise ``ValueError`` unless the weights fit each other."""
        shapes = {name: tuple(self.parameters[name].shape[1:]) for name in self.network_axes}
        k, h = shapes["embed"][:1], (self.hidden,)
        wanted = {"embed": k + h, "weight": (*h, n_outputs), "bias": (n_outputs,)}
        if self.reads_context:
            c = shapes["centre"][:1]
            wanted |= {"gate": c + h, "centre": c, "spread": c}
        if shapes != wanted:
            raise ValueError(f"the neural {self.kind} has weights of shapes {shapes}; expected {wanted}.")


def climbed(part: Network, value: Callable[[Network], Tensor]) -> Network:
    """``part`` some steps of L-BFGS uphill, each restart for itself; ``value`` (R,) never falls."""
    origin = part.free()
    sizes = [x[0].numel() for x in origin.values()]

    def at(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.enable_grad():
            point = vectors.detach().requires_grad_()
            pieces = zip(origin.items(), point.split(sizes, 1), strict=True)
            made = part.with_free({name: piece.view_as(x) for (name, x), piece in pieces})
            reached = value(made)
            (slope,) = torch.autograd.grad(reached[reached.isfinite()].sum(), point)
        return _vectors(made), reached.detach(), slope.nan_to_num(0.0, 0.0, 0.0)

    def among(trial: Tensor, some: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        moved, value, slope = at(here[0].index_copy(0, some, trial))
        return moved[some], value[some], slope[some]

    ascent, here = Ascent(), at(_vectors(part))
    for _ in range(_N_STEPS):
        before, here = here[1], ascent.step(among, *here)
        if bool((here[1] - before <= _STILL * before.abs()).all()):
            break
    pieces = zip(origin.items(), here[0].split(sizes, 1), strict=True)
    return part.with_free({name: piece.reshape(x.shape) for (name, x), piece in pieces})


def _vectors(part: Component) -> Tensor:
    return torch.cat([x.detach().flatten(1) for x in part.free().values()], 1)


def _product(rows: Tensor, weight: Tensor) -> Tensor:
    """rows (R, M, A) @ weight (R, A, B), no row's bits depending on others; where a gradient is asked for, at once."""
    if torch.is_grad_enabled() and (rows.requires_grad or weight.requires_grad):
        return rows @ weight
    return torch.stack([by_blocks(own, w) for own, w in zip(rows.expand(len(weight), -1, -1), weight, strict=True)])
