"""Why a series may be set aside: a register, of which the quarantine table, the alerts and the reference speak."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "alike_series": "Two names of series differ in nothing that is seen, such as spaces around them or capitals.",
        "missing_series": "A row names no series.",
        "bad_time": "A row's time is empty, or is none that could be read, or that its zone's clocks show.",
        "bad_value": "A text stands for a number; `source.bad_values` may let such a cell count as missing.",
        "infinite_value": "A number is infinite; `source.bad_values` says the same of it.",
        "unsorted_time": 'A row is earlier than the one before, and `source.unsorted = "reject"`.',
        "future_time": "Its newest rows lie ahead of this day.",
        "duplicate_time": "A time has several rows; `source.duplicates` and `source.written_at` say which counts.",
        "sparse": "Its rows are so far apart that the steps between would outnumber them.",
        "off_calendar": "A row has no place in the calendar; `source.off_calendar` says what becomes of it.",
        "undefined_feature": "A transform is undefined, such as the logarithm of a number that is not positive.",
        "wild_value": "A value lies further than `source.wild_spreads` from the others.",
        "outside_support": "A value is none that a law of `model.emission` knows, such as a half where it counts.",
        "bad_state": "A known state (`source.states`) is no number from 0 on.",
        "missing_context": "A row has values and lacks a context; `source.missing_context` says what becomes of it.",
        "all_missing": "A feature has no value at all.",
        "too_short": "Its training window has fewer rows with values than `source.min_rows`.",
        "constant": "A feature has the same value in every training row.",
        "stale": "It ended so long ago that the steps since would outnumber its rows.",
        "other_times": "The source no longer has most of the times that are published for it.",
        "other_name": "It is new, and written like one that is published and no longer there.",
        "other_series": "Its rows are those that were published as another series.",
        "other_values": "Most of its values are others than the model in force has seen, as in another unit; it enters "
        "with a new model.",
        "no_scale": "The model in force has never seen it, and has no scale for it; it enters with a new model.",
        "no_model": "No candidate of its own passed the gate, and it has no champion.",
    }
)
