"""What a suite module gives for one program and its tests: how to build and run them, and what must be reported.

A plan is made from text alone, before anything runs. Driver sources lie in `drivers/` and travel as files of the
recipe, below `FOLDER`, so that no name of theirs meets a name of the program's. Knows no language.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources

from sandbox.recipes import Recipe

FOLDER = "cinque_suite"  # of driver sources and transformed tests, in the workspace
BINARY = "suite"  # what a compiled suite is linked to
DIGEST_CHARS = 24  # of a sha256 in hexadecimal


class SuiteError(Exception):
    """Raised when a text of tests cannot be run as it is; `kind` becomes the result's error type."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class SuitePlan:
    """One program and its tests, ready to build.

    Attributes:
        recipe: builds both and runs the tests with the events channel on descriptor 3.
        tests: ids that must be reported, once each, in this order.
        collects: more ids than those may be reported, in any order (tests made by loops); the run says which.
        may_skip: ids that the tests' own text marks as skipped.
        test_files: names by which a compiler's messages call the tests.
        needs_sources: the run needs the recipe's files, not only what was built.
        is_parsed_late: the driver cannot tell a program that is no program; who asks must check when tests failed.
        apart: runs the program alone, as the partner of tests that carry plain data; None where a language cannot.
        beside: runs the tests alone, with the program as the partner.
    """

    recipe: Recipe
    tests: tuple[str, ...]
    collects: bool = False
    may_skip: frozenset[str] = frozenset()
    test_files: tuple[str, ...] = ()
    needs_sources: bool = False
    is_parsed_late: bool = False
    apart: Recipe | None = None
    beside: Recipe | None = None


@dataclass(frozen=True)
class Sources:
    """What a plan is made from. `code` is stored under `source_name`, beside `files`."""

    code: str
    test_code: str
    source_name: str
    files: dict[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """A name that no program can contain, because it is made of the program's text too."""
        texts = f"{self.test_code}\0{self.code}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(texts).hexdigest()[:DIGEST_CHARS]

    @property
    def hidden_folder(self) -> str:
        """A folder for the tests of compiled programs, which therefore cannot include them."""
        return f"{FOLDER}_{self.digest}"


@cache
def driver(name: str) -> str:
    """Return the text of a driver source."""
    return resources.files("sandbox.suites").joinpath("drivers", name).read_text(encoding="utf-8")


def no_tests(convention: str) -> SuiteError:
    """Return the error of tests in which nothing was found to run."""
    return SuiteError("NoTestsFound", f"no tests were found in test_code: write {convention}")
