"""A configuration is read whole or refused with the key, what was found and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.config.errors import ConfigurationError
from tasks.config.laws import scaled_columns
from tasks.config.settings import read_outline, read_settings
from tasks.fitting.candidates import candidates, check_candidates

MINIMAL = """
name = "toy"
[source]
path = "x.parquet"
time = "date"
[features]
r = { op = "log_return", column = "close" }
[fit]
n_init = 8
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "toy.toml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("fit.n_int=3", ["fit.n_int", "unknown key", "`fit.n_init`"]),
        ("model.n_init=3", ["model.n_init", "unknown key", "`fit.n_init`"]),
        ("sorce.path=x", ["sorce", "unknown key", "`source`"]),
        ("features.r.windw=3", ["features.r.windw", "`features.r.window`"]),
        ("features.r.op=exec", ["features.r.op", "'exec'", "log_return"]),
        ("features.r.op=zscore", ["features.r.op", "'zscore'", "did you mean 'zscore_rolling'?"]),
        ("features.r={op='clip', column='close'}", ["`column` and `low` or `high`"]),
        ("features.r={op='clip', column='close', low=2, high=1}", ["low = 2 below high = 1"]),
        ("features.r={op='hour', column='close'}", ['op = "hour" with nothing else']),
        ("features.r={op='lags', column='close', lags=[1, 1]}", ["features.r.lags", "none of them twice"]),
        ("features.r.op=rolling_std", ["`column` and `window`"]),
        ("features.state={op='diff', column='close'}", ["feature names", "state"]),
        ("features={r_2={op='log', column='c'}, r={op='lags', column='c', lags=[2]}}", ["features", "r_2"]),
        ("model.max_duration=atuo", ["model.max_duration", "'atuo'", 'whole number of steps >= 1, or "auto"']),
        ("model.n_states=0", ["model.n_states", "0", "greater than or equal to 1"]),
        ("model.emission=gausian", ["model.emission", "'gausian'", "did you mean 'gaussian'?"]),
        ("model.emission={name='gaussian', covariance='dia'}", ["model.emission.covariance", "'dia'", "'diag'"]),
        ("model.emission={name='gaussian', covarianc='diag'}", ["model.emission.covarianc", "'covariance'?"]),
        ("model.emission={name='gaussian', min_covariance='1'}", ["model.emission.min_covariance", "valid number"]),
        ("model.emission={name='gaussian', min_covariance=2.0}", ["model.emission", "fraction between 0 and 1"]),
        ("model.emission=['poisson', {name='poisson'}]", ["model.emission", "none of them twice"]),
        ("model.emission={name='product', parts=['gaussian'], columns=[['s']]}", ["columns of features", "r"]),
        ("model.emission={name='glm', family='poisson', columns=['w']}", ["columns of context"]),
        *(
            (f"model.{kind}={{name='contextual', context=['w']}}", [f"`model.{kind}`", "columns of context"])
            for kind in ("initial", "transition", "duration", "emission")
        ),
        ("model.emission={name='mixture', component='gama'}", ["'gama'", "gamma"]),
        ("model.transition=masked", ["model.transition", "'masked'", "allowed"]),
        ("model.transition={name='dense', self_transitions=true}", ["self_transitions", "`model.estimator`"]),
        ("model.duration={name='poisson', max_duration=3}", ["max_duration", "`model.max_duration`"]),
        ("model.initial={name='fixed', probability=[0.5, 0.6]}", ["model.initial", "sum to 1"]),
        ("model={estimator='hmm', duration='poisson'}", ["`duration`", "an HMM does not have"]),
        ("model.estimator=hsm", ["model.estimator", "'hsm'", "'hsmm'"]),
        ("fit.trainer=adam", ["fit.trainer", "'adam'", "gradient"]),
        ("fit.trainer={name='gradient', optimiser='sgd'}", ["fit.trainer.optimiser", "'adam'"]),
        ("select.criterion=bicc", ["select.criterion", "'bicc'", "did you mean 'bic'?"]),
        ("select.rule=one_standard_error", ["select", 'criterion = "held_out"']),
        ("select={criterion='held_out', rule='one_se'}", ["select.rule", "one_standard_error"]),
        ("select={criterion='held_out', splits={name='k_fold', n_split=3}}", ["n_split", "'n_splits'?"]),
        ("select.criterion=BIC", ["select.criterion", "'BIC'", "did you mean 'bic'?"]),
        ("model.emission=negbin", ["'negbin'", "did you mean 'negative_binomial'?"]),
        ("model.emission=lognormal", ["'lognormal'", "zero_inflated_gamma."]),
        ("fit.n_init=many", ["fit.n_init", "'many'; expected a whole number."]),
        ("fit.pool=per", ["fit.pool", "did you mean 'per_series'?"]),
        ("model.estimator=HMM", ["model.estimator: ", "did you mean 'hmm'?"]),
        ("model.n_states=[2, 0]", ["--set: model.n_states: found 0;"]),
        ("name=Prices", ["name: found 'Prices'; expected lower-case letters, digits and _, a letter first"]),
        ("alerts.states=crash", ["alerts.states: found 'crash'; expected a list."]),
        ("source.frequency=0", ["source.frequency: found 0; expected greater than"]),
        ("source.frequency={A=3}", ["source.frequency: found 3; expected a text"]),
        ("features.r.columns=['a']", ["features.r.columns: missing; expected more of them"]),
        ("model.n_states=[2, 2]", ["model.n_states", "none of them twice"]),
        ("model={min_duration=200, max_duration=120}", ["min_duration = 200", "max_duration = 120"]),
        ("fit.pool=by_sector", ["fit.pool", "'by_sector'", "'pooled'", "'per_series'", "'shared'"]),
        ("fit.tol=nan", ["fit.tol", "finite"]),
        ("source.timezone=Mars/Olympus", ["source.timezone", "'Mars/Olympus'", "IANA"]),
        ("source.frequency=2bd", ["source.frequency", "'2bd'", "1bd"]),
        (
            "source={path='p', time='t', frequency='1d', resample={clos='sum'}}",
            ["source.resample", "'clos'", "'close'"],
        ),
        ("source.available_after=1mo", ["source.available_after", "'1mo'", "1d12h"]),
        ("fit.train_window=3", ["fit.train_window"]),
        ("name=Toy", ["name", "'Toy'"]),
        ("promote.min_gain=1", ["promote.min_gain", "unknown key"]),
        ("promote.holdout=0", ["promote.holdout"]),
        ("fit", ["--set", "section.key=value"]),
    ],
)
def test_what_is_wrong_is_said_with_the_key(config: Path, assignment: str, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        read_settings(config, [assignment])
    message = str(refusal.value)
    assert all(word in message for word in words), message
    assert refusal.value.exit_status == 2
    assert len(message.splitlines()) == 1


def test_whoever_wrote_a_wrong_key_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(MINIMAL + "max_iter = 0\n")
    monkeypatch.setenv("HSMM_FIT__N_INIT", "0")
    monkeypatch.setenv("HSMM_FIT__TOL", "-1")
    monkeypatch.setenv("HSMM_NAME", "Toy")
    with pytest.raises(ConfigurationError) as refusal:
        read_settings(config, ["fit.tol=-2", "model={n_states=0}", "promote=3", "model.max_duration=3", "model.x.y=1"])
    said = dict(line.split(": ")[1::-1] for line in str(refusal.value).splitlines())
    assert said["fit.max_iter"] == str(config)
    assert said["fit.n_init"] == "HSMM_FIT__N_INIT"
    assert said["name"] == "HSMM_NAME"
    assert said["fit.tol"] == said["model.n_states"] == said["promote"] == said["model.x"] == "--set"
    for variable in ("FIT__N_INIT", "FIT__TOL", "NAME"):
        monkeypatch.delenv(f"HSMM_{variable}")
    config.write_text(MINIMAL + "[model]\nmax_duration = 120\n")
    wrong = {"model.min_duration=500": f"{config} with --set: model: ", "fit.n_init.x=1": "--set: "}
    for assignment, origin in wrong.items():
        with pytest.raises(ConfigurationError) as refusal:
            read_settings(config, [assignment])
        assert str(refusal.value).startswith(origin)


def test_an_outline_is_the_configuration_without_the_library(config: Path) -> None:
    assert read_outline(config) == read_settings(config)
    assert read_outline(config, ["model.emission={name='gausian'}"]).model.emission == ({"name": "gausian"},)
    with pytest.raises(ConfigurationError, match=r"(?s)source\.timezone: .*'Europe/Berlin'.*fit\.n_init: "):
        read_outline(config, ["fit.n_init=0", "source.timezone=Berlin"])


def test_every_wrong_key_is_named(config: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)fit\.n_int.*select\.critrion"):
        read_settings(config, ["fit.n_int=3", "select.critrion=bic"])


def test_assignments_override_the_environment_which_overrides_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_settings(config).fit.n_init == 8
    monkeypatch.setenv("HSMM_FIT__N_INIT", "64")
    assert read_settings(config).fit.n_init == 64
    assert read_settings(config, ["fit.n_init=2", "fit.n_init=3"]).fit.n_init == 3


def test_an_unknown_key_in_the_environment_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSMM_FIT__N_INTI", "64")
    with pytest.raises(ConfigurationError, match=r"fit\.n_init"):
        read_settings(config)


@pytest.mark.parametrize(("text", "candidates"), [("3", (3,)), ("[2, 3]", (2, 3))])
def test_a_scalar_is_a_list_of_one_candidate(config: Path, text: str, candidates: tuple[int, ...]) -> None:
    settings = read_settings(config, [f"model.n_states={text}", "model.emission=gaussian"])
    assert settings.model.n_states == candidates
    assert settings.model.emission == ("gaussian",)


def test_settings_are_frozen(config: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read_settings(config).fit.n_init = 3  # type: ignore[misc]


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"found a folder; expected a TOML configuration\. If these are data, `hsmm init "
    ):
        read_settings(tmp_path)


@pytest.mark.parametrize("text", [None, "name = ", "\xff"])
def test_a_missing_or_broken_file_is_one_sentence(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "broken.toml"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"broken\.toml"):
        read_settings(path)


def test_what_no_data_could_make_right_is_refused_before_any_is_read(config: Path) -> None:
    for assignment, words in (
        ("model.initial={name='fixed', probability=[0.5, 0.5]}", "probability has 2 entries, but the model has 3"),
        ("model.transition={name='masked', allowed=[[true, true], [true, true]]}", "mask of 2 states"),
        ("model.emission={name='product', parts=['gaussian', 'poisson']}", "give a part to each"),
        ("fit.frozen=['emision']", "frozen names 'emision'"),
        ("model.transition=sticky", "semi-Markov"),
        ("model.transition=gated", "semi-Markov"),
    ):
        settings = read_settings(config, [assignment, "model.n_states=3"])
        with pytest.raises(ConfigurationError, match=words):
            check_candidates(settings)


def test_an_hmm_counts_once_for_all_durations(config: Path) -> None:
    both = read_settings(config, ["model.estimator=['hmm', 'hsmm']", "model.n_states=2"])
    described = [candidate.described for candidate in candidates(both)]
    assert [row["duration"] for row in described].count("none") == 2
    assert len(described) == 2 + 4


def test_options_tell_candidates_apart(config: Path) -> None:
    two = "model.emission=['gaussian', {name='gaussian', covariance='diag'}]"
    settings = read_settings(config, [two, "model.n_states=2", "model.initial=['free', 'stationary']"])
    described = [candidate.described for candidate in candidates(settings)]
    assert len({str(row) for row in described}) == len(described) == 8
    assert {row["emission"] for row in described} == {"gaussian", "gaussian(covariance=diag)"}
    assert {row["initial"] for row in described} == {"free", "stationary"}


@pytest.mark.parametrize(
    ("emission", "scaled"),
    [
        ("student_t", ["r", "n"]),
        ("{name='mixture', component='gaussian'}", ["r", "n"]),
        ("['gaussian', 'poisson']", []),
        ("{name='product', parts=['poisson', 'gaussian'], columns=[['n'], ['r']]}", ["r"]),
    ],
)
def test_only_what_may_move_and_stretch_is_scaled(config: Path, emission: str, scaled: list[str]) -> None:
    settings = read_settings(config, ["features.n={op='identity', column='n'}", f"model.emission={emission}"])
    assert scaled_columns(settings) == scaled


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("model={min_duration=500, max_duration=120}", "model: expected min_duration"),
        (
            'model.emission={name = "glm", family = "poisson", columns = ["lod"]}',
            "declare 'lod' in a table `[context]`",
        ),
    ],
)
def test_a_section_that_is_wrong_as_a_whole_is_not_recited(config: Path, assignment: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        read_settings(config, [assignment])
    message = str(refusal.value)
    assert said in message
    assert "{" not in message
    assert ": :" not in message


def test_a_question_ends_no_sentence_twice() -> None:
    """What was meant is asked, with one mark at its end."""
    from tasks.tables.show import asked_columns

    with pytest.raises(ConfigurationError, match=r"did you mean 'state_name'\?$"):
        asked_columns("state_nam")
    with pytest.raises(ConfigurationError, match=r"'xyz'; expected one of .*\w\.$"):
        asked_columns("xyz")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("fit.n_init", "a whole number, without quotes"),
        ("fit.tol", "a number, without quotes"),
        ("promote.allow_collapsed", "true or false, without quotes"),
        ("name", "a text, in quotes"),
    ],
)
def test_a_value_of_another_kind_is_refused_whoever_could_convert_it(config: Path, key: str, expected: str) -> None:
    own = {"a whole number, without quotes": "2", "a number, without quotes": "0.5"}
    own |= {"true or false, without quotes": "true", "a text, in quotes": '"two"'}
    read_settings(config, [f"{key}={own.pop(expected)}"])
    others = [*own.values(), '"2"', '"true"', "1"] if "true" in expected else ['"2"', "true"]
    for other in ["2", "true"] if "text" in expected else others:
        with pytest.raises(ConfigurationError) as refused:
            read_settings(config, [f"{key}={other}"])
        assert f"{key}: found" in str(refused.value)
        assert f"expected {expected}." in str(refused.value)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ('model.n_states=[2, "3"]', "a whole number, without quotes"),
        ('model.chains=["2", "2"]', "a whole number, without quotes"),
        ('alerts.drift.window="50"', "a whole number, without quotes"),
        ("features.r={op='lags', column='close', lags=['1']}", "a whole number, without quotes"),
        ("context.h={op='holiday', dates=[20261225]}", "a date such as 2026-12-25"),
        ("source.frequency=true", "a number, or a text in quotes"),
        ("fit=3", "a table of keys"),
    ],
)
def test_so_is_one_in_a_list_or_a_table_of_a_table(config: Path, assignment: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=f"expected {expected}"):
        read_settings(config, [assignment])


def test_lengths_of_time_dates_and_names_are_taken_as_they_are_written(config: Path) -> None:
    assignments = ["source.available_after=0", "context.h={op='holiday', dates=['2026-12-25', 2027-01-01]}"]
    read = read_settings(config, [*assignments, "alerts.states=['calm', 2]", "fit.train_window=10y"])
    assert (read.source.available_after, read.fit.train_window) == ("0", "10y")
    assert [day.isoformat() for day in read.context["h"].dates or ()] == ["2026-12-25", "2027-01-01"]
    assert read.alerts.states == ("calm", 2)
