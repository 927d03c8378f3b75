"""The C interface as its headers declare it: structures field by field, functions by the structures they take."""

from __future__ import annotations

import ctypes
import itertools
import re

POINTER = ctypes.c_void_p
INT = ctypes.c_int64
NUMBER = ctypes.c_double
_KINDS = {POINTER: "*", INT: "int64_t", NUMBER: "double"}

Structure = type[ctypes.Structure]
Declarations = dict[str, tuple[str, ...]]
_STRUCTURES: list[Structure] = []


def _structure(name: str, **members: type) -> Structure:
    _STRUCTURES.append(type(name, (ctypes.Structure,), {"_fields_": list(members.items())}))
    return _STRUCTURES[-1]


Problem = _structure(
    "Problem",
    **dict.fromkeys(("n_restarts", "n_series", "n_rows", "n_states", "n_durations"), INT),
    **dict.fromkeys(("initial", "transition", "duration", "residual", "tail_stay", "tail_leave"), POINTER),
    **dict.fromkeys(("initial_bound", "transition_bound", "duration_bound"), POINTER),
    **dict.fromkeys(("residual_bound", "tail_stay_bound", "tail_leave_bound"), POINTER),
    **dict.fromkeys(("emission", "offsets", "owners", "left_censored", "right_censored", "fragile", "lanes"), POINTER),
    **dict.fromkeys(("n_groups", "n_threads", "transition_by_row", "duration_by_row", "residual_by_series"), INT),
    **dict.fromkeys(("n_transitions", "n_laws"), INT),
    **dict.fromkeys(("transition_of_row", "duration_of_row"), POINTER),
)
CountsOut = _structure(
    "CountsOut",
    **dict.fromkeys(("series_weight", "log_likelihood", "doubtful", "state"), POINTER),
    **dict.fromkeys(("initial", "transition", "duration", "residual", "tail_stay", "tail_leave"), POINTER),
)
LikelihoodOut = _structure("LikelihoodOut", **dict.fromkeys(("log_likelihood", "deficit", "lost"), POINTER))
Exponentials = _structure(
    "Exponentials",
    **dict.fromkeys(("logarithms", "linear", "raised", "fragile", "faint"), POINTER),
    **dict.fromkeys(("n_tables", "size", "is_double"), INT),
)
SavedState = _structure("SavedState", **dict.fromkeys(("starting", "steps_left", "by_age", "n_rows"), POINTER))
CausalOut = _structure(
    "CausalOut",
    **dict.fromkeys(("survival", "residual_survival", "state", "predicted"), POINTER),
    **dict.fromkeys(("log_density", "remaining", "elapsed"), POINTER),
    **dict.fromkeys(("before", "after"), POINTER),
)
SmoothedOut = _structure("SmoothedOut", lag=INT, state=POINTER)
PathsOut = _structure("PathsOut", log_probability=POINTER, states=POINTER)
SamplesOut = _structure("SamplesOut", n_paths=INT, seeds=POINTER, states=POINTER)

Rows = _structure(
    "Rows",
    **dict.fromkeys(("values", "observed", "rows", "features"), POINTER),
    **dict.fromkeys(("n_table_rows", "n_columns", "n_rows", "n_features", "n_threads"), INT),
)
Law = _structure(
    "Law",
    parameters=POINTER,
    **dict.fromkeys(("n_restarts", "n_states", "n_parameters", "by_axis", "has_dof"), INT),
    n_observed=NUMBER,
)
DensityOut = _structure("DensityOut", log_density=POINTER)
MomentsOut = _structure("MomentsOut", weights=POINTER, sums=POINTER, n_sums=INT)
Units = _structure(
    "Units",
    **dict.fromkeys(("rows", "n_models", "first_model", "first_row"), POINTER),
    **dict.fromkeys(("n_units", "n_threads"), INT),
)

DurationLaw = _structure(
    "DurationLaw",
    **dict.fromkeys(("family", "min_duration", "max_duration", "has_tail"), INT),
    **dict.fromkeys(("low", "high"), POINTER),
)
DurationCounts = _structure(
    "DurationCounts",
    **dict.fromkeys(("segments", "residual", "tail_stay", "tail_leave", "parameters"), POINTER),
    **dict.fromkeys(("n_states", "n_threads"), INT),
)
DurationTable = _structure(
    "DurationTable",
    **dict.fromkeys(("parameters", "log_duration", "log_tail"), POINTER),
    **dict.fromkeys(("n_states", "n_threads"), INT),
)

Shape = _structure("Shape", **dict.fromkeys(("n_restarts", "n_rows", "n_states", "n_distinct", "n_threads"), INT))
Spread = _structure("Spread", table=POINTER, of_row=POINTER, out=POINTER, adds=INT)
Gathered = _structure("Gathered", weights=POINTER, of_row=POINTER, sums=POINTER)
Linear = _structure("Linear", coefficients=POINTER, numbers=POINTER, out=POINTER)

FUNCTIONS: dict[str, tuple[Structure, ...]] = {
    "hsmm_expected_counts_f32": (Problem, CountsOut),
    "hsmm_expected_counts_f64": (Problem, CountsOut),
    "hsmm_exponentials": (Exponentials,),
    "hsmm_log_partition": (Problem, LikelihoodOut),
    "hsmm_log_counts": (Problem, CountsOut),
    "hsmm_log_score": (Problem, LikelihoodOut),
    "hsmm_causal": (Problem, CausalOut),
    "hsmm_smoothed": (Problem, SmoothedOut),
    "hsmm_viterbi": (Problem, PathsOut),
    "hsmm_sample_paths": (Problem, SamplesOut),
    "hsmm_elliptical_density": (Rows, Law, DensityOut),
    "hsmm_elliptical_moments": (Rows, Law, MomentsOut),
    "hsmm_elliptical_density_of_units": (Units, Law, DensityOut),
    "hsmm_elliptical_moments_of_units": (Units, Law, MomentsOut),
    "hsmm_maximise_durations": (DurationLaw, DurationCounts),
    "hsmm_duration_tables": (DurationLaw, DurationTable),
    "hsmm_spread": (Shape, Spread),
    "hsmm_gathered": (Shape, Gathered),
    "hsmm_linear": (Shape, Linear),
}


def declared_here() -> Declarations:
    """Members of every structure, as "type name" or "* name"; structures that every function takes."""
    structures = {x.__name__: tuple(f"{_KINDS[member[1]]} {member[0]}" for member in x._fields_) for x in _STRUCTURES}
    return structures | {name: tuple(x.__name__ for x in taken) for name, taken in FUNCTIONS.items()}


def declared_in(library: ctypes.CDLL) -> Declarations:
    """The same, read from what a build says of itself; nothing if it says nothing."""
    try:
        declaration = library.hsmm_declaration
    except AttributeError:
        return {}
    declaration.argtypes, declaration.restype = [INT], ctypes.c_char_p
    return dict(_read(text.decode()) for text in itertools.takewhile(bool, map(declaration, itertools.count())))


def _read(declaration: str) -> tuple[str, tuple[str, ...]]:
    """From "Name{const double *a, *b; int64_t n;}" or "name(const Name* p, const Out* out)"."""
    name, _, members = declaration.partition("{")
    if not members:
        name, _, taken = declaration.partition("(")
        return name, tuple(re.findall(r"(\w+)\s*\*", taken))
    lines = (line.strip() for line in members.rstrip("}").split(";"))
    return name, tuple(member for line in lines if line for member in _members(line))


def _members(line: str) -> list[str]:
    """The members "* a" and "* b" from "const double *a, *b"."""
    base = line.removeprefix("const ").replace("*", " * ").split()[0]
    names = line.removeprefix("const ").removeprefix(base).split(",")
    return [f"{'*' if '*' in name else base} {name.strip(' *')}" for name in names]
