"""What an adviser looks at: the report, the cause that is believed, and the place in the program."""

from dataclasses import dataclass

from sandbox.analysis.cause import Cause
from sandbox.types import FailureReport


@dataclass(frozen=True)
class Situation:
    """One failure with everything that is known of it."""

    report: FailureReport
    language: str  # its plain name, never an alias
    cause: Cause
    line: int | None  # of the program, from 1
    lines: list[str]  # of the program

    @property
    def text(self) -> str:
        """The failing line; empty when it is not known."""
        return self.line_at(self.line)

    @property
    def where(self) -> str:
        """` on line 5`, or nothing."""
        return "" if self.line is None else f" on line {self.line}"

    def line_at(self, number: int | None) -> str:
        """Return a line of the program by its number; empty outside of it."""
        return self.lines[number - 1] if number is not None and 1 <= number <= len(self.lines) else ""
