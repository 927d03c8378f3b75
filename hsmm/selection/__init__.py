"""Choosing among candidates."""

from hsmm.selection.criteria import CRITERIA, Criterion, CriterionName, Evidence
from hsmm.selection.search import Selection, select_model

__all__ = ["CRITERIA", "Criterion", "CriterionName", "Evidence", "Selection", "select_model"]
