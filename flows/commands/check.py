"""Proof that nothing looks ahead."""

from __future__ import annotations

from flows.commands.answer import print_json
from flows.commands.flow import hush
from flows.commands.options import AsJson, Assignments, Config
from flows.console import print_check


def check(config: Config, *, cuts: int = 20, seed: int = 0, set_: Assignments = None, json_: AsJson = False) -> None:
    """Prove on the configuration's own source that nothing looks ahead: cut it, do the work again, compare bits.

    Parameters
    ----------
    cuts
        Random moments at which the source is cut.
    seed
        Which moments.
    """
    hush()
    from flows.progress_display import display
    from tasks.config.settings import read_settings
    from tasks.judgement.causality import check_causality, require_causal

    settings = read_settings(config, set_ or ())
    with display():
        said = check_causality(settings, cuts, seed)
    print_check(said, counted=settings.source.counts_steps)
    print_json(said, json_, counted=settings.source.counts_steps)
    require_causal(said)
