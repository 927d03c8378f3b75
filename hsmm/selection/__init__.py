"""Choosing among candidates."""

from hsmm.selection.criteria import CRITERIA, Criterion, Evidence, criterion
from hsmm.selection.held_out import HeldOut
from hsmm.selection.merging import MergeTest, merge_states, merge_test
from hsmm.selection.ranking import RULES
from hsmm.selection.reasons import Reason
from hsmm.selection.search import Selection, select_model
from hsmm.selection.soundness import DEAD_SHARE, WALL_SHARE, state_shares, wall_share
from hsmm.selection.splits import SPLITTERS, Fold, ForwardChaining, KFold, LastShare, Splitter
from hsmm.selection.stability import Stability, stability

__all__ = [
    "CRITERIA",
    "DEAD_SHARE",
    "RULES",
    "SPLITTERS",
    "WALL_SHARE",
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
    "state_shares",
    "wall_share",
]
