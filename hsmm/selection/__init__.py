"""Choosing among candidates."""

from hsmm.selection.criteria import CRITERIA, Criterion, Evidence, criterion
from hsmm.selection.held_out import HeldOut
from hsmm.selection.merging import MergeTest, merge_states, merge_test
from hsmm.selection.reasons import DEAD_SHARE, Reason
from hsmm.selection.search import Selection, select_model
from hsmm.selection.splits import Fold, ForwardChaining, KFold, LastShare, Splitter
from hsmm.selection.stability import Stability, stability

__all__ = [
    "CRITERIA",
    "DEAD_SHARE",
    "Criterion",
    "Evidence",
    "Fold",
    "ForwardChaining",
    "HeldOut",
    "KFold",
    "LastShare",
    "MergeTest",
    "Reason",
    "Selection",
    "Splitter",
    "Stability",
    "criterion",
    "merge_states",
    "merge_test",
    "select_model",
    "stability",
]
