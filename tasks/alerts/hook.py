"""Telling someone: an alert posted to an address, or handed to a command. Nothing secret is ever said of either."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import Thread
from typing import Any, Protocol
from urllib.parse import urlsplit

from tasks.config.errors import ConfigurationError
from tasks.config.sections.alerts import Hook, checked_address

_AGAIN = (408, 425, 429)


class HookError(Exception):
    """A call that failed: why, and whether it may succeed when it is made again."""

    def __init__(self, reason: str, *, may_pass: bool) -> None:
        super().__init__(reason)
        self.may_pass = may_pass


class Call(Protocol):
    """Tells one alert to whoever listens; raises ``HookError`` if nobody took it."""

    def __call__(self, alert: Mapping[str, Any]) -> None: ...


def hook_call(hook: Hook) -> Call:
    """The call that a configuration describes.

    Raises ``ConfigurationError`` where a variable that it names is not set, or holds no address.
    """
    if hook.command is not None:
        return _Command(hook.command, hook.timeout)
    url = hook.url if hook.url is not None else _secret("url_from", hook.url_from)
    if (flaw := checked_address(url)) is not None:
        raise ConfigurationError(f"alerts.hook.url_from: found another text in {hook.url_from}; expected {flaw}.")
    token = None if hook.token_from is None else _secret("token_from", hook.token_from)
    return _Webhook(url, token, hook.timeout)


def persistently(call: Call, hook: Hook, pause: Callable[[float], None] = time.sleep) -> Call:
    """The same call, made again after longer and longer pauses while it may yet succeed."""

    def told(alert: Mapping[str, Any]) -> None:
        for attempt in range(hook.retries + 1):
            try:
                return call(alert)
            except HookError as error:
                if attempt == hook.retries or not error.may_pass:
                    raise
                pause(hook.backoff * 2**attempt)
        return None

    return told


def _secret(key: str, variable: str | None) -> str:
    found = os.environ.get(variable or "")
    if not found:
        raise ConfigurationError(
            f"alerts.hook.{key}: the variable {variable} is not set; expected it in the environment."
        )
    return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What is secret in a request goes to the address that it was meant for, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Webhook:
    """POSTs an alert as JSON, its id as ``Idempotency-Key``."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        self._url, self._timeout = url, timeout
        self._headers = {"Content-Type": "application/json", "User-Agent": "hsmm-flows"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def __call__(self, alert: Mapping[str, Any]) -> None:
        headers = {**self._headers, "Idempotency-Key": str(alert["alert_id"])}
        host = urlsplit(self._url).hostname
        try:
            request = urllib.request.Request(self._url, json.dumps(alert).encode(), headers, method="POST")
            return _within(self._timeout, lambda: self._post(request))
        except urllib.error.HTTPError as error:
            error.close()
            again = error.code >= 500 or error.code in _AGAIN
            raise HookError(f"{host} answered {error.code}; expected 200 to 299", may_pass=again) from None
        except TimeoutError:
            raise HookError(f"{host} gave no answer within {self._timeout:g} s", may_pass=True) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise HookError(f"{host} gave no answer within {self._timeout:g} s", may_pass=True) from None
            raise HookError(f"{host} cannot be reached ({type(reason).__name__})", may_pass=True) from None

    def _post(self, request: urllib.request.Request) -> None:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=self._timeout):
            return


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Do it in so much time or raise ``TimeoutError``: a socket's own limit is for every byte, and none for names."""
    done: Future[None] = Future()

    def worked() -> None:
        try:
            work()
            done.set_result(None)
        except Exception as error:
            done.set_exception(error)

    Thread(target=worked, name="hook", daemon=True).start()
    done.result(seconds)


class _Command:
    """Runs a command that reads an alert as JSON from its standard input."""

    def __init__(self, command: tuple[str, ...], timeout: float) -> None:
        self._command, self._timeout = command, timeout

    def __call__(self, alert: Mapping[str, Any]) -> None:
        program = os.path.basename(self._command[0])
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            raise HookError(f"the command {program!r} cannot be started: {said}", may_pass=False) from None
        with process:
            try:
                process.communicate(json.dumps(alert).encode(), timeout=self._timeout)
            except subprocess.TimeoutExpired:
                _end(process)
                raise HookError(f"the command {program!r} took more than {self._timeout:g} s", may_pass=True) from None
            except BaseException:
                _end(process)
                raise
        if process.returncode:
            raise HookError(f"the command {program!r} ended with status {process.returncode}", may_pass=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The command and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
