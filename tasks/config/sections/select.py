"""How the best candidate is chosen."""

from __future__ import annotations

from typing import Self

from pydantic import ValidationInfo, field_validator, model_validator

from tasks.config.components import SplitsChoice, is_outline
from tasks.config.sections.section import Section
from tasks.config.settings_errors import nearest


class Select(Section):
    """How the best candidate is chosen."""

    criterion: str = "bic"
    """What candidates are ranked by."""
    rule: str = "best"
    """Which of those near the best is chosen, on held-out rows: the best, or the simplest within a standard error."""
    splits: SplitsChoice = "last_share"
    """Which rows are held out, where the criterion asks for some."""

    @field_validator("criterion", "rule")
    @classmethod
    def _is_known(cls, name: str, info: ValidationInfo) -> str:
        if is_outline(info):
            return name
        from hsmm.selection import CRITERIA, RULES

        known = CRITERIA if info.field_name == "criterion" else RULES
        if name not in known:
            raise ValueError(nearest(name, known))
        return name

    @model_validator(mode="after")
    def _has_scores_on_held_out_rows(self, info: ValidationInfo) -> Self:
        given = [key for key in ("rule", "splits") if key in self.model_fields_set]
        if is_outline(info) or not given:
            return self
        from hsmm.selection import CRITERIA

        if not CRITERIA[self.criterion].on_held_out:
            raise ValueError(f'criterion = "held_out" with `{given[0]}`, which needs scores on held-out rows')
        return self
