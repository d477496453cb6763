"""Check files of families: every program runs, and all programs of a family do the same for what they are given.

    python -m training.embedded_model.check_families [FILE ...]

Programs run in this process, as whoever wrote them is trusted here; making the training data runs them in the sandbox.
Prints what is wrong, then how many families of each kind there are; ends with 1 when anything was wrong.
"""

import argparse
import contextlib
import io
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from training.embedded_model.cases import draw_input, draw_parameters, outcomes, same
from training.embedded_model.families import Family, FamilyError, program, read_file

FOLDER: Final = Path(__file__).with_name("families")
N_INPUTS: Final = 12
N_PARAMETERS: Final = 6  # choices of parameters that are tried
MIN_PHRASES: Final = 5
MAX_RESULT_CHARS: Final = 400


def problems(family: Family) -> Iterator[str]:
    """Yield what is wrong with a family."""
    if len({phrase.text for phrase in family.phrases}) < MIN_PHRASES:
        yield f"says it in fewer than {MIN_PHRASES} ways"
    r = random.Random(family.name)
    for _ in range(N_PARAMETERS if family.parameters else 1):
        drawn, _values = draw_parameters(family, r)
        try:
            yield from _class_problems(drawn) if drawn.kind == "class" else _run_problems(drawn, r)
        except Exception as error:  # noqa: BLE001 - whatever a family's program raises is its problem
            yield f"{type(error).__name__}: {error}"


def _class_problems(family: Family) -> Iterator[str]:
    for i, solution in enumerate(family.solutions):
        for check in family.checks:
            scope: dict[str, Any] = {}
            exec(program(family, solution), scope)
            scope["candidate"] = scope[family.name]
            try:
                exec(check.replace("\\n", "\n"), scope)
            except Exception as error:  # noqa: BLE001 - as above
                yield f"solution {i + 1} fails `{check}`: {type(error).__name__}: {error}"
    if not any("assert" in check for check in family.checks):
        yield "checks nothing"


def _run_problems(family: Family, r: random.Random) -> Iterator[str]:
    inputs = [draw_input(family, r) for _ in range(N_INPUTS)]
    results = [[case.result for case in outcomes(family, solution, inputs)] for solution in family.solutions]
    for i, other in enumerate(results[1:], 2):
        for given, first, second in zip(inputs, results[0], other, strict=True):
            if not same(first, second):
                yield f"solution {i} gives {second!r} for {given!r}, the first {first!r}"
                break
    if len(inputs[0]) and len({repr(one) for one in results[0]}) == 1:
        yield f"gives {results[0][0]!r} whatever it is given"
    if max(len(repr(one)) for one in results[0]) > MAX_RESULT_CHARS:
        yield "gives a result too long to be shown"
    if family.before:
        before = [_attempt(family, family.before, given) for given in inputs]
        if all(same(first, second) for first, second in zip(before, results[0], strict=True)):
            yield "does the same before the edit"


def _attempt(family: Family, solution: str, given: Any) -> Any:
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # an edit may be to return what was printed
            return outcomes(family, solution, [given])[0].result
    except Exception as error:  # noqa: BLE001 - what stands before an edit may fail
        return error


def main() -> None:
    """Check, print, and end with 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(FOLDER.glob("*.txt")))
    kinds: Counter[str] = Counter()
    n_wrong = 0
    for path in parser.parse_args().files:
        try:
            families = read_file(path)
        except FamilyError as error:
            print(error)
            n_wrong += 1
            continue
        for family in families:
            kinds[family.kind] += 1
            for problem in dict.fromkeys(problems(family)):
                print(f"{family.where}: {family.name}: {problem}")
                n_wrong += 1
    print(", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) + f"; {n_wrong} wrong")
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
