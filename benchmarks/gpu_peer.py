"""An HMM's smoother as JAX's own words say it: a scan forward, a scan backward, compiled for the device."""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

from hsmm.kernels import gpu
from hsmm.potentials import Potentials


def smoother(p: Potentials, repeats: int) -> dict[str, Any]:
    """Median milliseconds, and by how much its log-likelihoods differ from ours at most; why not, where JAX cannot."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the memory is not its alone
    try:
        import jax
        import jax.numpy as jnp
    except ImportError as error:
        return {"peer": f"jax is not installed: {error}"}
    if jax.default_backend() != "gpu":
        return {"peer": f"jax {jax.__version__} finds no GPU here: it runs on {jax.default_backend()}"}
    jax.config.update("jax_default_matmul_precision", "highest")
    series, rows, states = p.n_series, p.n_rows // p.n_series, p.n_states
    emission = jnp.asarray(p.log_emission[0].view(series, rows, states).cpu().numpy()).transpose(1, 0, 2)
    initial, transition = (jnp.exp(jnp.asarray(x[0].cpu().numpy())) for x in (p.log_initial, p.log_transition))

    @jax.jit
    def run(emission: Any) -> tuple[Any, Any, Any]:
        largest = emission.max(-1, keepdims=True)
        likelihood = jnp.exp(emission - largest)

        def forward(predicted: Any, now: Any) -> tuple[Any, Any]:
            joint = predicted * now
            scale = joint.sum(-1, keepdims=True)
            filtered = joint / scale
            return filtered @ transition, (filtered, scale)

        first = jnp.broadcast_to(initial, emission.shape[1:])
        _, (filtered, scale) = jax.lax.scan(forward, first, likelihood)

        def backward(carry: tuple[Any, Any], now: tuple[Any, Any, Any]) -> tuple[tuple[Any, Any], Any]:
            value, count = carry
            known, weighed, before = now
            starting = weighed * value
            count = count + jnp.einsum("si,sj->sij", before, starting)
            return (starting @ transition.T, count), known * value

        shifted = jnp.concatenate([jnp.zeros_like(filtered[:1]), filtered[:-1]])
        nothing = jnp.zeros((emission.shape[1], states, states), emission.dtype)
        start = jnp.ones_like(first), nothing
        (_, count), state = jax.lax.scan(backward, start, (filtered, likelihood / scale, shifted), reverse=True)
        return (jnp.log(scale) + largest).sum((0, 2)), state, count * transition

    times = []
    for _ in range(2 + repeats):
        started = time.perf_counter()
        found = jax.block_until_ready(run(emission))
        times.append(1e3 * (time.perf_counter() - started))
    ours = gpu.expected_counts(p).log_likelihood[0].cpu().numpy()
    apart = float(abs(ours - jax.device_get(found[0])).max())
    return {"peer": f"jax {jax.__version__}, lax.scan", "peer_ms": statistics.median(times[2:]), "apart": apart}
