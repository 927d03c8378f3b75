"""Scikit-learn's way of handing further arguments on: metadata routing, and y in the second place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from hsmm.errors import UnknownOptionError
from hsmm.spelling import nearest


class Routed:
    """An estimator whose methods may ask scikit-learn for the arguments that ``routes`` names."""

    routes: ClassVar[Mapping[str, tuple[str, ...]]]

    def get_metadata_routing(self) -> Any:
        """Which further arguments scikit-learn hands to which method."""
        from sklearn.utils.metadata_routing import MetadataRequest

        if not hasattr(self, "_metadata_request"):
            self._metadata_request = MetadataRequest(owner=self)
            for method, names in self.routes.items():
                for name in names:
                    getattr(self._metadata_request, method).add_request(param=name, alias=None)
        return self._metadata_request

    def set_fit_request(self, **wanted: bool | str | None) -> Self:
        """Ask scikit-learn to hand these arguments on to ``fit``: True, False, or the name they go by."""
        return self._request("fit", wanted)

    def set_score_request(self, **wanted: bool | str | None) -> Self:
        """Ask scikit-learn to hand these arguments on to ``score``: True, False, or the name they go by."""
        return self._request("score", wanted)

    def set_predict_request(self, **wanted: bool | str | None) -> Self:
        """Ask scikit-learn to hand these arguments on to ``predict``: True, False, or the name they go by."""
        return self._request("predict", wanted)

    def set_predict_proba_request(self, **wanted: bool | str | None) -> Self:
        """Ask scikit-learn to hand these arguments on to ``predict_proba``: True, False, or the name they go by."""
        return self._request("predict_proba", wanted)

    def _request(self, method: str, wanted: Mapping[str, bool | str | None]) -> Self:
        known = self.routes.get(method, ())
        for name in wanted:
            if name not in known:
                takes = ", ".join(known) or "nothing that could be routed"
                raise UnknownOptionError(f"{method} takes no {name!r}{nearest(name, known)} It takes {takes}.")
        requests = getattr(self.get_metadata_routing(), method)
        for name, alias in wanted.items():
            if alias is not None:
                requests.add_request(param=name, alias=alias)
        return self


def y_may_stand_second(method: Callable[..., Any]) -> Callable[..., Any]:
    """``method(self, X, lengths, …)`` also where scikit-learn's pipelines call it as ``(X, y, lengths=…)``."""

    @functools.wraps(method)
    def called(self: Any, X: Any, *others: Any, **named: Any) -> Any:
        if len(others) == 1 and "lengths" in named:
            named.setdefault("y", others[0])
            others = ()
        return method(self, X, *others, **named)

    return called
