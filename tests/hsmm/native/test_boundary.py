"""Nothing that happens in the library ends the process: stale builds are refused, failures are exceptions."""

from __future__ import annotations

import _ctypes
import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import torch

from hsmm import inference
from hsmm.errors import KernelWarning
from hsmm.inference import engine
from hsmm.native import interface, library
from tests.costly import costly_beyond
from tests.hsmm.inference.cases import random_potentials

HEADERS = Path(library.__file__).parent
needs_library = pytest.mark.skipif(not library.available(), reason="no native library was built")
ordinary = pytest.mark.skipif(
    os.environ.get("HSMM_NATIVE_BUILD") == "_sanitized", reason="the sanitizers need their own address space"
)

FEW_THREADS = """
size_of_stack = 1 << 28
libc, attributes = ctypes.CDLL(None), ctypes.create_string_buffer(64)
assert not libc.pthread_attr_init(attributes)
assert not libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(size_of_stack))
assert not libc.pthread_setattr_default_np(attributes)
p = random_potentials(0, (400,) * 32, n_restarts=1, n_durations=40)
torch.set_num_threads(1)
wanted = answers(p)
torch.get_num_threads = lambda: 32
leave(size_of_stack * 5 // 2)
assert all(torch.equal(one, other) for one, other in zip(answers(p), wanted, strict=True))
"""
NO_MEMORY = """
p = random_potentials(0, (1_000_000,), n_restarts=1, n_states=8, n_durations=2)
small = random_potentials(0)
wanted = answers(small)
leave(3 << 23)
try:
    inference.viterbi(p)
except MemoryError as error:
    assert "hsmm_viterbi: no memory for its work space; give fewer rows" in str(error)
else:
    raise AssertionError("there was memory enough")
assert all(torch.equal(one, other) for one, other in zip(answers(small), wanted, strict=True))
"""
COMMON = """
import ctypes, resource, torch
from pathlib import Path
from hsmm import inference
from tests.hsmm.inference.cases import random_potentials

def answers(p):
    return [inference.viterbi(p).states, inference.filtered(p), *vars(inference.expected_counts(p)).values()]

def leave(n_bytes):
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + n_bytes,) * 2)
"""
THROWING = """
#include <stdexcept>
#include "boundary.hpp"
HSMM_STRUCTURE(What, int64_t kind;);
HSMM_FUNCTION(hsmm_throw, (const What* what), {
    if (what->kind == 1) throw std::bad_alloc();
    if (what->kind == 2) throw std::length_error("too long");
    if (what->kind == 3) throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
    if (what->kind == 4) throw std::logic_error("a defect");
    if (what->kind == 5) throw 5;
});
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of builds of its own."""
    caches = (library.load, library._opened, engine._native_is_available)
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    monkeypatch.delenv("HSMM_NATIVE_BUILD", raising=False)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


def put(build: bytes, folder: Path, name: str = "_portable") -> None:
    (folder / f"{name}{EXTENSION_SUFFIXES[0]}").write_bytes(build)


def built(name: str = "_portable") -> bytes:
    paths = [HEADERS / f"{name}{suffix}" for suffix in EXTENSION_SUFFIXES]
    found = [path for path in paths if path.exists()]
    if not found:
        pytest.skip(f"{name} was not built")
    return found[0].read_bytes()


@pytest.mark.parametrize(
    ("declaration", "other"),
    [
        (b"int64_t n_restarts, n_series,", b"int64_t n_series, n_restarts,"),
        (b"hsmm_viterbi(const Problem* p,", b"hsmm_viterbi(const PathsOut*p,"),
    ],
    ids=["structure", "function"],
)
def test_a_build_of_other_sources_is_refused_and_the_reference_answers(declaration, other, installed):
    build = built()
    assert build.count(declaration) == 1
    put(build.replace(declaration, other), installed)
    p = random_potentials(0)
    with pytest.warns(KernelWarning, match=r"_portable was built from other sources .*: rebuild it with.*slower ref"):
        found = inference.log_partition(p)
    assert torch.equal(found, inference.log_partition(p, kernel="reference"))
    assert not library.available()
    with pytest.raises(ValueError, match="the native kernel cannot do log_partition"):
        inference.log_partition(p, kernel="native")


def test_a_build_that_does_not_say_how_it_was_declared_is_refused(installed):
    put(Path(_ctypes.__file__).read_bytes(), installed)
    assert library.load() is None
    assert "was built from other sources" in library.why_not("_portable")


def test_a_file_that_is_no_library_is_refused(installed):
    put(b"no library", installed)
    assert library.load() is None
    assert "_portable cannot be loaded" in library.complaint()


@needs_library
def test_a_stale_build_does_not_keep_a_sound_one_from_use(installed):
    put(built(), installed)
    put(b"no library", installed, "_avx2")
    assert library.load() is not None
    assert library.complaint().endswith("a slower build is in use.")


@needs_library
def test_a_sound_build_is_used_without_a_word(installed):
    put(built(), installed)
    assert library.load() is not None
    assert library.complaint() is None


@pytest.mark.usefixtures("installed")
def test_no_build_at_all_is_said():
    assert library.load() is None
    assert "was not built (no C++ compiler at installation?); the slower reference" in library.complaint()


def test_a_build_that_was_asked_for_by_name_is_refused_with_the_reason(installed, monkeypatch):
    put(b"no library", installed)
    monkeypatch.setenv("HSMM_NATIVE_BUILD", "_portable")
    with pytest.raises(ImportError, match=r"HSMM_NATIVE_BUILD is '_portable', which cannot be used: cannot be loaded"):
        library.load()


@ordinary
@needs_library
@pytest.mark.skipif(sys.platform != "linux", reason="limits are set as Linux has them")
@pytest.mark.parametrize("script", costly_beyond(1, [FEW_THREADS, NO_MEMORY]), ids=["threads", "memory"])
def test_what_the_system_does_not_give_ends_no_process(script):
    child = subprocess.run([sys.executable, "-c", COMMON + script], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr


@pytest.mark.parametrize(
    ("code", "error", "sentence"),
    [(1, MemoryError, "no memory"), (2, OSError, "the system refused"), (3, RuntimeError, "not foreseen")],
)
def test_every_cause_is_its_own_exception(code, error, sentence, monkeypatch):
    class Failing:
        def hsmm_viterbi(self, *_: object) -> int:
            return code

    monkeypatch.setattr(library, "load", Failing)
    with pytest.raises(error, match=f"hsmm_viterbi: .*{sentence}"):
        library.call("hsmm_viterbi")


def test_no_exception_leaves_a_function_and_each_kind_has_its_code(tmp_path):
    compiler = shutil.which(os.environ.get("CXX") or (sysconfig.get_config_var("CXX") or "c++").split()[0])
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    (tmp_path / "throwing.cpp").write_text(THROWING)
    command = [compiler, "-std=c++17", "-shared", "-fPIC", f"-I{HEADERS}", "throwing.cpp", "-o", "throwing.so"]
    subprocess.run(command, cwd=tmp_path, check=True)
    throwing = ctypes.CDLL(str(tmp_path / "throwing.so"))
    codes = [throwing.hsmm_throw(ctypes.byref(ctypes.c_int64(kind))) for kind in range(6)]
    assert codes == [0, 1, 1, 2, 3, 3]


@needs_library
def test_every_function_that_python_calls_is_declared_alike():
    assert interface.declared_in(library.load()) == interface.declared_here()
