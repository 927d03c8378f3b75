"""Whatever ends a night, readers see whole publishes, and the same night made again ends as if nothing had been.

HSMM_KILLS=1,2,3 in the environment kills at every point, for each of these seeds, instead of at a few.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.flows import crash

SEEDS = [int(seed) for seed in os.environ.get("HSMM_KILLS", "").split(",") if seed]
SOME = ["after the states' commit", "before the alerts"]
NOT_KEPT = "after a fit that is not kept yet"
NOWHERE = "tracking.uri=http://127.0.0.1:9"
pytestmark = [] if SEEDS else [pytest.mark.costly]


@pytest.fixture(scope="module", params=SEEDS or [1])
def nights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A place after its first night, and the same after a second one that nothing disturbed."""
    root = tmp_path_factory.mktemp("nights")
    first = crash.make_place(root / "first", request.param)
    assert _said(first, "2024-05-01")["verdict"] == "PUBLISHED"
    second = crash.copy_place(first, root / "second")
    assert _said(second)["verdict"] == "PUBLISHED"
    return first, second


def _said(place: Path, as_of: str | None = None, **options: Any) -> dict[str, Any]:
    return crash.finish(place, crash.start(place, as_of, **options))


def _height(place: Path) -> int:
    return pl.read_delta(str(place / "out" / "states")).height


@pytest.mark.parametrize("point", crash.POINTS if SEEDS else SOME)
def test_a_night_that_is_killed_and_made_again_ends_as_one_that_was_not(
    nights: tuple[Path, Path], tmp_path: Path, point: str
) -> None:
    first, undisturbed = nights
    place = crash.copy_place(first, tmp_path / "place")
    assert crash.killed(crash.start(place, None, point))
    assert _height(place) in (_height(first), _height(undisturbed))
    assert "error" not in _said(place)
    assert crash.content(place) == crash.content(undisturbed)
    assert crash.n_fits(place) - crash.n_fits(first) == crash.N_FITS + (point == NOT_KEPT)


def test_of_two_runs_of_one_key_at_once_one_publishes(nights: tuple[Path, Path], tmp_path: Path) -> None:
    first, undisturbed = nights
    place = crash.copy_place(first, tmp_path / "place")
    both = [crash.start(place, None) for _ in range(2)]
    verdicts = sorted(crash.finish(place, child).get("verdict", "") for child in both)
    assert verdicts == ["ALREADY_PUBLISHED", "PUBLISHED"]
    seen, expected = crash.content(place), crash.content(undisturbed)
    assert {part: seen[part] for part in ("", "_quarantine", "_names", "alias")} == {
        part: expected[part] for part in ("", "_quarantine", "_names", "alias")
    }


def test_without_tracking_a_night_fits_from_the_kept_champion_and_loses_nothing(
    nights: tuple[Path, Path], tmp_path: Path
) -> None:
    first, undisturbed = nights
    place = crash.copy_place(first, tmp_path / "place")
    away = _said(place, overrides=(NOWHERE,), prepare=_impatient)
    assert away["status"] == 1
    assert "What was fitted is kept" in away["error"]
    assert len(away["error"].splitlines()) == 1
    assert _height(place) == _height(first)
    made = crash.n_fits(place)
    assert made == crash.n_fits(first) + crash.N_FITS
    assert _said(place)["verdict"] == "PUBLISHED"
    assert crash.n_fits(place) == made
    assert crash.content(place) == crash.content(undisturbed)


def _impatient() -> None:
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


@pytest.mark.skipif(not SEEDS, reason="HSMM_KILLS names no seeds")
def test_of_two_days_at_once_both_end_in_the_table_under_ids_that_were_compared(tmp_path: Path) -> None:
    place = crash.make_place(tmp_path / "place", SEEDS[0])
    days = ("2024-05-01", None)
    both = [crash.start(place, day) for day in days]
    said = [crash.finish(place, child) for child in both]
    for day, told in zip(days, said, strict=True):
        if told.get("verdict") is None:
            assert "run it again" in told["error"]
            assert _said(place, day)["verdict"] in ("PUBLISHED", "ALREADY_PUBLISHED")
    rows = pl.read_delta(str(place / "out" / "states"))
    assert not rows.select(pl.struct("series_id", "time", "as_of").is_duplicated().any()).item()
    assert rows.select("series_id", "time").unique().height == 300
