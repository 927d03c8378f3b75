"""Choosing among candidates."""

from hsmm.selection.criteria import CRITERIA, Criterion, Evidence, criterion
from hsmm.selection.held_out import HeldOut
from hsmm.selection.merging import MergeTest, merge_states, merge_test
from hsmm.selection.ranking import RULES
from hsmm.selection.reasons import Reason, seeking_reasons
from hsmm.selection.search import Selection, Weighing, select_model, selecting
from hsmm.selection.soundness import DEAD_SHARE, WALL_SHARE, state_shares, wall_share
from hsmm.selection.splits import SPLITTERS, Fold, ForwardChaining, KFold, LastShare, Splitter
from hsmm.selection.stability import Stability, stability
from hsmm.selection.units import UnitSelection, select_units

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
    "UnitSelection",
    "Weighing",
    "criterion",
    "merge_states",
    "merge_test",
    "seeking_reasons",
    "select_model",
    "select_units",
    "selecting",
    "stability",
    "state_shares",
    "wall_share",
]
