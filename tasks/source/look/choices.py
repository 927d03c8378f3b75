"""What was chosen for a key of the configuration, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.config.moments import in_steps


@dataclass(frozen=True)
class Choice:
    """One key's value and the reason for it.

    Attributes
    ----------
    key
        Dotted, as in ``source.time``.
    value
        What stands in the file; None leaves the key out, so that only the comment stands there.
    why
        What of the data speaks for it, in one sentence.
    instead
        Lines that may stand in its place, each with what it would mean.
    is_open
        Whether the data cannot tell, so that someone who knows them has to.
    """

    key: str
    value: Any
    why: str
    instead: tuple[str, ...] = ()
    is_open: bool = False


@dataclass
class Choices:
    """The choices so far, in the order in which they were made, by key; what is ``given`` is not chosen again."""

    given: Mapping[str, Any] = field(default_factory=dict)
    made: dict[str, Choice] = field(default_factory=dict)

    def add(self, key: str, value: Any, why: str, *instead: str, is_open: bool = False) -> None:
        """Choose; a later choice of the same key takes the place of the earlier one."""
        if key in self.given:
            self.made[key] = Choice(key, self.given[key], "as it was asked for")
        else:
            self.made[key] = Choice(key, value, why, instead, is_open)

    def add_given(self) -> None:
        """What was asked for and not chosen by the look."""
        for key in self.given:
            if key not in self.made:
                self.add(key, None, "")

    def speak_of_steps(self) -> None:
        """Where steps are counted, reasons speak of their numbers."""
        self.made = {key: replace(choice, why=in_steps(choice.why)) for key, choice in self.made.items()}

    def value(self, key: str) -> Any:
        """What was chosen for a key; None where it was left out."""
        return self.made[key].value if key in self.made else None

    def sections(self) -> dict[str, Any]:
        """The configuration as its keys have it."""
        tree: dict[str, Any] = {}
        for choice in self.made.values():
            if choice.value is not None:
                *sections, key = choice.key.split(".", 1) if "." in choice.key else [choice.key]
                place = tree
                for section in sections:
                    place = place.setdefault(section, {})
                place[key] = choice.value
        return tree

    def of(self, section: str) -> Mapping[str, Choice]:
        """The choices of one section by their last key; of ``""`` those outside all sections."""
        if not section:
            return {key: choice for key, choice in self.made.items() if "." not in key}
        return {
            key.split(".", 1)[1]: choice for key, choice in self.made.items() if key.split(".", 1)[0] == section != key
        }
