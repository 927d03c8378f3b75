"""What the candidates' emissions say of each feature: by which laws it is described, and what values these allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.config.components import Choice, made
from tasks.config.settings import Settings

if TYPE_CHECKING:
    from hsmm.components.emission import Emission

SPREADS, SPREADS_OF_COUNTS = 10.0, 100.0


def emission_of(choice: Choice, settings: Settings) -> Emission:
    """An emission as the library takes it, whose columns are those of the configuration."""
    from hsmm.components.register import resolve

    law: Emission = resolve("emission", made("emission", choice, settings.value_columns, settings.context_columns))
    return law


def laws_by_feature(settings: Settings) -> dict[str, list[Emission]]:
    """Feature to the law by which each candidate describes it; of a product, the part that does."""
    laws = [emission_of(choice, settings) for choice in settings.model.emission]
    return {name: [_law_of_column(law, i) for law in laws] for i, name in enumerate(settings.value_columns)}


def scaled_columns(settings: Settings) -> list[str]:
    """The features that may be standardised: those that every candidate describes by a law of location and scale.

    Counts, categories and positive quantities stay in their own units.
    """
    laws = laws_by_feature(settings)
    return [name for name, described in laws.items() if all(law.is_location_scale for law in described)]


def reaching_columns(settings: Settings) -> dict[str, float]:
    """The features of which a value may lie too far out to be one, and how many spreads that is.

    They are those that every candidate describes by a law of location and scale, of positive amounts, or of counts,
    whose bursts are their own: they may reach ten times as far.
    """
    laws = laws_by_feature(settings)
    reach = {name: [_reach(law) for law in described] for name, described in laws.items()}
    return {name: max(spreads) for name, spreads in reach.items() if all(spreads)}


def _reach(law: Emission) -> float:
    from hsmm.components.emission.multinomial import Multinomial
    from hsmm.components.emission.support import COUNTS, POSITIVE, ZERO_OR_POSITIVE

    if law.is_location_scale or law.support in (POSITIVE, ZERO_OR_POSITIVE):
        return SPREADS
    counts_alone = law.support is COUNTS and not isinstance(law, Multinomial)  # of shares of a total none is far
    return SPREADS_OF_COUNTS if counts_alone else 0.0


def _law_of_column(law: Emission, column: int) -> Emission:
    from hsmm.components.emission import Product

    if not isinstance(law, Product):
        return law
    pairs = zip(law.parts, law.columns or (), strict=True)
    own = next((part for part, columns in pairs if column in columns), law)
    return law if isinstance(own, str) else own
