"""The state table and its companions: column names and what each holds."""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

Kind = Literal["string", "timestamp", "int16", "int32", "double", "doubles", "int16s", "bool"]

STATE_COLUMNS: MappingProxyType[str, Kind] = MappingProxyType(
    {
        "series_id": "string",
        "time": "timestamp",
        "as_of": "timestamp",
        "state": "int16",
        "state_name": "string",
        "p_filtered": "doubles",
        "p_smoothed": "doubles",
        "viterbi": "int16",
        "elapsed_mean": "double",
        "remaining_mean": "double",
        "remaining_p10": "double",
        "remaining_p50": "double",
        "remaining_p90": "double",
        "p_change_1": "double",
        "p_change_5": "double",
        "p_change_20": "double",
        "log_density": "double",
        "in_sample": "bool",
        "status": "string",
        "reason": "string",
        "model_name": "string",
        "model_version": "int32",
        "run_key": "string",
        "train_start": "timestamp",
        "train_end": "timestamp",
    }
)

WITHOUT_VALUE = ("MISSING", "STALE")
"""What the status of a row is whose values are not known (yet), STALE where they have not been for long."""

WILD = ("wild_value", "wild_context")
"""Why a value is no evidence of a state: it, or the context beside it, lies far from all that was learnt."""

QUARANTINE_COLUMNS: MappingProxyType[str, Kind] = MappingProxyType(
    {
        "series_id": "string",
        "reason": "string",
        "detail": "string",
        "as_of": "timestamp",
        "model_name": "string",
        "run_key": "string",
    }
)

NAME_COLUMNS: MappingProxyType[str, Kind] = MappingProxyType(
    {
        "state": "int16",
        "name": "string",
        "born": "timestamp",
        "died": "timestamp",
        "model_name": "string",
    }
)

RUN_COLUMNS: MappingProxyType[str, Kind] = MappingProxyType(
    {
        "model_name": "string",
        "as_of": "timestamp",
        "run_key": "string",
        "status": "string",
        "detail": "string",
    }
)

ALERT_COLUMNS: MappingProxyType[str, Kind] = MappingProxyType(
    {
        "alert_id": "string",
        "kind": "string",
        "rule": "string",
        "series_id": "string",
        "time": "timestamp",
        "released": "timestamp",
        "as_of": "timestamp",
        "state": "int16",
        "state_name": "string",
        "value": "double",
        "detail": "string",
        "delivery": "string",
        "attempts": "int32",
        "model_name": "string",
        "model_version": "int32",
        "run_key": "string",
    }
)

DRIFT_COLUMNS: MappingProxyType[str, Kind] = MappingProxyType(
    {
        "series_id": "string",
        "feature": "string",
        "reason": "string",
        "value": "double",
        "least": "double",
        "most": "double",
        "as_of": "timestamp",
        "model_name": "string",
        "run_key": "string",
    }
)

SAMPLE_COLUMNS: MappingProxyType[str, Kind] = MappingProxyType(
    {
        "series_id": "string",
        "time": "timestamp",
        "feature": "string",
        "value": "double",
        "lineage": "string",
        "model_name": "string",
    }
)

RESULT_COLUMNS: MappingProxyType[str, Kind] = MappingProxyType(
    {
        "series_id": "string",
        "candidate": "int16",
        "chosen": "bool",
        "n_states": "int16",
        "emission": "string",
        "duration": "string",
        "transition": "string",
        "initial": "string",
        "context": "string",
        "criterion": "string",
        "score": "double",
        "aic": "double",
        "bic": "double",
        "hqc": "double",
        "icl": "double",
        "held_out": "double",
        "log_likelihood": "double",
        "n_parameters": "int32",
        "n_iter": "int32",
        "converged": "bool",
        "reasons": "string",
        "warnings": "string",
        "verdict": "string",
        "gate_reasons": "string",
        "state_ids": "int16s",
        "parameters": "string",
        "as_of": "timestamp",
        "model_name": "string",
        "run_key": "string",
    }
)
