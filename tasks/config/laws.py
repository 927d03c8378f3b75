"""What the candidates' emissions say of each feature: by which laws it is described, and what values these allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.config.components import Choice, made
from tasks.config.settings import Settings

if TYPE_CHECKING:
    from hsmm.components.emission import Emission


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


def measured_columns(settings: Settings) -> list[str]:
    """The features of which a value may lie too far out to be one: those that every candidate describes by a law of
    location and scale, or of positive amounts. Counts are not: bursts are theirs.
    """
    from hsmm.components.emission.support import POSITIVE, ZERO_OR_POSITIVE

    laws = laws_by_feature(settings)
    amounts = (POSITIVE, ZERO_OR_POSITIVE)
    return [
        name
        for name, described in laws.items()
        if all(law.is_location_scale or law.support in amounts for law in described)
    ]


def _law_of_column(law: Emission, column: int) -> Emission:
    from hsmm.components.emission import Product

    if not isinstance(law, Product):
        return law
    pairs = zip(law.parts, law.columns or (), strict=True)
    own = next((part for part, columns in pairs if column in columns), law)
    return law if isinstance(own, str) else own
