"""What is saved comes back bit for bit; what was not saved by us is refused, and nothing is executed."""

from __future__ import annotations

import itertools
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import hsmm
from hsmm.components.duration import DURATIONS
from hsmm.errors import NotFittedError
from hsmm.models import Estimator
from tests.hsmm.components.cases import ELLIPTICAL

pytestmark = pytest.mark.filterwarnings("ignore::hsmm.errors.DurationWallWarning")

MANIFEST, TABLES = "model.json", "model.safetensors"


def data(n_features: int = 2) -> np.ndarray:
    rng = np.random.default_rng(3)
    level = np.repeat(rng.permutation([0.0, 3.0, 6.0] * 4), 10)
    return level[:, None] + rng.normal(size=(120, n_features))


def models() -> list[Estimator]:
    quick = {"n_init": 2, "max_iter": 4, "tol": 0.0}
    emissions = [
        ELLIPTICAL[name](covariance=kind)
        for name, kind in itertools.product(ELLIPTICAL, ["full", "diag", "tied", "spherical"])
    ]
    durations = [law() for law in DURATIONS.values() if not law.uses_covariates] + [hsmm.durations.Poisson(tail=False)]
    return [
        *(hsmm.HMM(3, emission=emission, **quick) for emission in emissions),
        *(hsmm.HSMM(2, duration=law, max_duration=7, min_duration=2, **quick) for law in durations),
        hsmm.HSMM(2, left_censored=True, right_censored=False, max_duration=12, initial="uniform", **quick),
        hsmm.HMM(2, initial=hsmm.initials.FixedInitial(probability=(0.3, 0.7)), **quick),
        hsmm.HSMM(np.int64(2), transition=hsmm.transitions.Dense(concentration=2.0), max_duration=np.int64(5), **quick),
    ]


@pytest.mark.parametrize("model", models(), ids=repr)
def test_a_saved_model_comes_back_bit_for_bit(model: Estimator, tmp_path: Path) -> None:
    X = data()
    model.fit(X)
    model.save(tmp_path / "deep" / "folder")
    found = hsmm.load(tmp_path / "deep" / "folder")
    assert type(found) is type(model)
    assert found.score(X) == model.score(X)
    assert np.array_equal(found.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(found.predict(X), model.predict(X))
    for name in ("log_likelihood_", "n_iter_", "converged_", "n_parameters_", "n_features_in_"):
        assert getattr(found, name) == getattr(model, name)
    for one, other in zip(found.sample(30), model.sample(30), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("model", models(), ids=repr)
def test_a_loaded_model_can_be_fitted_again(model: Estimator, tmp_path: Path) -> None:
    X = data()
    model.fit(X).save(tmp_path)
    found = hsmm.load(tmp_path)
    assert found.describe() == model.describe()
    assert found.clone().fit(X).log_likelihood_ == model.log_likelihood_


def test_a_model_with_known_parameters_is_saved_too(tmp_path: Path) -> None:
    model = hsmm.HMM.from_parameters(
        initial_prob=[0.5, 0.5],
        transition_prob=[[0.9, 0.1], [0.2, 0.8]],
        emission=hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [1.0]], covariance=[1.0, 2.0]),
    )
    model.save(tmp_path)
    assert hsmm.load(tmp_path).score([0.0, 1.0]) == model.score([0.0, 1.0])


def test_an_unfitted_model_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="not fitted"):
        hsmm.HMM(2).save(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def flip_a_bit(tables: Path) -> None:
    """The least of the last number: no check of shapes or ranges sees it."""
    content = bytearray(tables.read_bytes())
    content[-8] ^= 1
    tables.write_bytes(content)


def test_a_single_bit_is_missed(tmp_path: Path) -> None:
    model = hsmm.HMM(2, n_init=1, max_iter=2, tol=0.0).fit(data())
    flip_a_bit(model.save(tmp_path / "one") / TABLES)
    with pytest.raises(ValueError, match="is damaged"):
        hsmm.load(tmp_path / "one")
    flip_a_bit(hsmm.save_models(tmp_path / "many", {"a": model}) / "models.safetensors")
    with pytest.raises(ValueError, match="is damaged"):
        hsmm.load_models(tmp_path / "many")["a"]


def test_words_of_before_say_nothing_of_bytes(tmp_path: Path) -> None:
    model = hsmm.HMM(2, n_init=1, max_iter=2, tol=0.0).fit(data())
    words = json.loads((model.save(tmp_path) / MANIFEST).read_text())
    del words["sha256"]
    (tmp_path / MANIFEST).write_text(json.dumps(words))
    assert hsmm.load(tmp_path).score(data()) == model.score(data())


def test_a_model_is_not_saved_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file; expected a folder"):
        hsmm.HMM(1, n_init=1).fit(data()).save(tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == "mine"


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = hsmm.HSMM(3, emission="student_t", max_duration=6, n_init=2, max_iter=3, tol=0.0)
    return model.fit(data()).save(tmp_path / "model")


@pytest.mark.parametrize("name", [MANIFEST, TABLES])
def test_a_pickle_is_not_opened(folder: Path, name: str) -> None:
    proof = folder / "executed"
    (folder / name).write_bytes(pickle.dumps(Bomb(proof)))
    with pytest.raises(ValueError, match=name):
        hsmm.load(folder)
    torch.save({"x": Bomb(proof)}, folder / name)
    with pytest.raises(ValueError, match=name):
        hsmm.load(folder)
    assert not proof.exists()


@pytest.mark.parametrize("name", [MANIFEST, TABLES])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(folder: Path, name: str, share: float) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=name):
        hsmm.load(folder)


@pytest.mark.parametrize("name", [MANIFEST, TABLES])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        hsmm.load(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        hsmm.load(tmp_path / "nowhere")


def test_an_oversized_header_is_not_parsed(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    padded = content[8 : 8 + size] + b" " * (1 << 20)
    path.write_bytes(len(padded).to_bytes(8, "little") + padded + content[8 + size :])
    with pytest.raises(ValueError, match="a header of"):
        hsmm.load(folder)


def test_an_oversized_manifest_is_not_read(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "padding": "x" * (2 << 20)}))
    with pytest.raises(ValueError, match="at most 1048576"):
        hsmm.load(folder)


MANIFESTS = {
    "not an object": (lambda m: [m], "format 'list'"),
    "nested without end": (lambda _: "[" * 100_000, "not JSON"),
    "other format": (lambda m: m | {"format": 99}, "format 99.*reads format 1"),
    "no format": (lambda m: {k: v for k, v in m.items() if k != "format"}, "format None"),
    "no components": (lambda m: m | {"components": [1]}, "components.*expected a dict"),
    "flag": (lambda m: m | {"left_censored": "yes"}, "left_censored.*expected a bool"),
    "unknown family": (lambda m: _with(m, "emission", name="os.system"), "unknown emission 'os.system'"),
    "unhashable family": (lambda m: _with(m, "emission", name=["gaussian"]), "unknown emission"),
    "unknown field": (lambda m: _with(m, "emission", evil=1), "unknown fields evil"),
    "wrong field": (lambda m: _with(m, "emission", min_covariance="tiny"), "emission"),
    "wrong option": (lambda m: _with(m, "emission", covariance="round"), "expected one of full"),
    "fields of text": (lambda m: _with(m, "duration", max_duration="6"), "duration"),
    "huge durations": (lambda m: _with(m, "duration", max_duration=10**10), "max_duration is 10000000000"),
    "no emission": (lambda m: _without(m, "emission"), "no component owns|lacks emission"),
    "no durations": (lambda m: _without(m, "duration"), "no component owns"),
    "other durations": (lambda m: _with(m, "duration", name="poisson"), "do not fit"),
    "unknown estimator": (lambda m: _details(m, estimator="Pickle"), "estimator 'Pickle'"),
    "wrong estimator": (lambda m: _details(m, estimator="HMM"), "do not make an HMM"),
    "unhashable estimator": (lambda m: _details(m, estimator=["HMM"]), "estimator"),
    "unknown options": (lambda m: _details(m, options={"exec": "x"}), "options that do not fit"),
    "wrong fit": (lambda m: _details(m, fit={"log_likelihood": []}), "options that do not fit|saved"),
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_forged_manifest_is_refused(folder: Path, kind: str) -> None:
    forge, message = MANIFESTS[kind]
    forged = forge(json.loads((folder / MANIFEST).read_text()))
    (folder / MANIFEST).write_text(forged if isinstance(forged, str) else json.dumps(forged))
    with pytest.raises(ValueError, match=message):
        hsmm.load(folder)


def _nested(depth: int) -> dict:
    return {"name": "mixture", "component": _nested(depth - 1) if depth else {"name": "gaussian"}}


@pytest.mark.filterwarnings("ignore::hsmm.errors.ConvergenceWarning")
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"name": "os.system"}, "unknown emission 'os.system'"),
        ({"name": "gaussian", "evil": 1}, "unknown fields evil"),
        ({"name": "gaussian", "min_covariance": {"name": "gaussian"}}, "wrong type"),
        ({"evil": 1}, "unknown emission None"),
        ([{"name": "gaussian"}], "stands in a mixture"),
        ({"name": "poisson"}, "has the tables"),
        ({"name": "gaussian", "covariance": "diag"}, "shape|covariance"),
        ({"name": "product", "parts": 3}, "wrong type|parts"),
        (_nested(9), "deeper than 8"),
    ],
)
def test_a_forged_part_of_a_part_is_refused(part: object, message: str, tmp_path: Path) -> None:
    mixture = hsmm.emissions.Mixture("gaussian", n_components=2)
    folder = hsmm.HMM(2, emission=mixture, n_init=2, max_iter=2, tol=0.0).fit(data()).save(tmp_path)
    manifest = _with(json.loads((folder / MANIFEST).read_text()), "emission", component=part)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=message):
        hsmm.load(folder)


FORGERIES = {
    "nan": (lambda t: t["emission.mean"].fill_(torch.nan), "emission.mean holds NaN"),
    "infinite": (lambda t: t["duration.shape"].fill_(torch.inf), "holds NaN or infinite"),
    "float32": (lambda t: t.update({"emission.mean": t["emission.mean"].float()}), "float32; expected float64"),
    "no states": (lambda t: t.update({"emission.mean": t["emission.mean"][:, :0]}), "shape|covariance"),
    "a state too few": (lambda t: t.update({k: v[:, :2] for k, v in t.items() if k[:4] == "emis"}), "emission"),
    "two restarts": (lambda t: t.update({k: torch.cat([v, v]) for k, v in t.items()}), "shape"),
    "too few axes": (lambda t: t.update({"emission.mean": t["emission.mean"][0]}), "shape"),
    "scalar": (lambda t: t.update({"initial.probability": torch.tensor(1.0, dtype=torch.float64)}), "fit|shape"),
    "broadcast": (lambda t: t.update({"emission.covariance": t["emission.covariance"][..., :1]}), "covariance"),
    "negative variance": (lambda t: t["emission.covariance"].neg_(), "positive definite"),
    "negative freedom": (lambda t: t["emission.dof"].neg_(), "dof"),
    "not a distribution": (lambda t: t["transition.probability"].mul_(2.0), "not probabilities"),
    "negative probability": (lambda t: t["initial.probability"].sub_(0.5), "not probabilities"),
    "extra of no one": (lambda t: t.update({"encoder.weight": torch.zeros(1, dtype=torch.float64)}), "no component"),
    "extra of a part": (lambda t: t.update({"emission.extra": torch.zeros(1, dtype=torch.float64)}), "extra"),
    "one too few": (lambda t: t.pop("emission.dof"), "expected covariance, dof, mean"),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_forged_tables_are_refused(folder: Path, kind: str) -> None:
    forge, message = FORGERIES[kind]
    tables = {name: value.clone() for name, value in load_file(folder / TABLES).items()}
    forge(tables)
    save_file({name: value.contiguous() for name, value in tables.items()}, folder / TABLES)
    with pytest.raises(ValueError, match=message):
        hsmm.load(folder)


def _with(manifest: dict, kind: str, **fields: object) -> dict:
    components = manifest["components"]
    return manifest | {"components": components | {kind: components[kind] | fields}}


def _without(manifest: dict, kind: str) -> dict:
    return manifest | {"components": {k: v for k, v in manifest["components"].items() if k != kind}}


def _details(manifest: dict, **changes: object) -> dict:
    return manifest | {"details": manifest["details"] | changes}
