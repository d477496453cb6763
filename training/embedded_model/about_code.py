"""Examples about code that somebody brings: mend it, test it, say what it does, change its form, answer as JSON.

Each starts from a function of a family. What a fault does is found out by running it: an error in a prompt is one that
Python really gave.
"""

import ast
import builtins
import contextlib
import copy
import json
import random
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from training.embedded_model.cases import Case
from training.embedded_model.examples import Drawn, Example, draw, filled, with_cases
from training.embedded_model.families import Family
from training.embedded_model.phrasing import third_person, wording
from training.embedded_model.programs import faulty, fenced, renamed, tidy

_TRIES: Final = 12
_ANSWERED_SHARE: Final = 0.4  # of the code that people bring: what the model itself answered just before
_MAX_STEPS: Final = 20_000  # lines that a faulty program may run, as some never end
_MAX_S: Final = 3.0  # of processor time, a hundred times what those lines take
_BUILTINS: Final = frozenset(dir(builtins))  # what an annotation may name without an import
_MAX_TOLD: Final = 120  # characters of a case in a prompt


class _TooLongError(Exception):
    """A faulty program did not end."""


def repair(whole: Family, r: random.Random) -> Example | None:
    """Draw a function with a fault and what is seen of it; the answer is the function without. None: no luck."""
    drawn = draw(whole, r)
    right = tidy(drawn.source)
    for _ in range(_TRIES):
        if (wrong := faulty(drawn.source, r)) is None:
            return None
        seen = _seen(wrong, drawn, r)
        if seen is not None:
            if r.random() < _ANSWERED_SHARE:
                said = filled(r.choice(wording("repairs_after")), seen, drawn.name)
                return _after(drawn, wrong, _example("repair", drawn, said, right), r)
            code = fenced(wrong) if r.random() < 0.4 else wrong.rstrip()
            prompt = filled(r.choice(wording("repairs")), seen, drawn.name, code)
            return _example("repair", drawn, prompt, right)
    return None


def _after(drawn: Drawn, code: str, made: Example, r: random.Random) -> Example:
    """Return an example as what follows in a conversation: the model was asked for *code*, and gave it."""
    return replace(made, earlier=(with_cases(drawn, r), fenced(code)))


def _seen(wrong: str, drawn: Drawn, r: random.Random) -> str | None:
    """Return what somebody tells of the fault: an error, or a call with what came and what should; None if nothing."""
    for case in drawn.cases:
        if case.is_change or case.is_generator or len(repr(case)) > _MAX_TOLD:
            continue
        call = f"{drawn.name}({', '.join(map(repr, case.given))})"
        try:
            got = _run(wrong, drawn.name, case)
        except _TooLongError:
            return r.choice((f"{call} never ends", f"it loops forever for {call}", f"TimeoutError: {call}"))
        except Exception as error:  # noqa: BLE001 - whatever a faulty program raises is what is asked about
            told = traceback.format_exception_only(error)[-1].strip()
            return told if r.random() < 0.7 else f"{call} raises {told}"
        if repr(got) != repr(case.result):
            wanted = case.result
            options = (
                f"{call} returns {got!r} instead of {wanted!r}",
                f"AssertionError: assert {call} == {wanted!r}",
                f"Expected {wanted!r} for {call}, got {got!r}",
                f"{call} should be {wanted!r} but is {got!r}",
                f"assert {got!r} == {wanted!r}\n +  where {got!r} = {call}",
            )
            return r.choice(options)
    return None


def _run(source: str, name: str, case: Case) -> Any:
    """Run a program that may never end, counting its lines."""
    scope: dict[str, Any] = {}
    exec(source, scope)
    with counting_lines():
        return scope[name](*copy.deepcopy(case.given))


@contextlib.contextmanager
def counting_lines() -> Iterator[None]:
    """Raise `_TooLongError` in what runs inside after many lines.

    A timer stands by: one line may square a number for hours, and an error that a generator's end swallows stops the
    count. What it ends is far beyond what the lines allow, so that which programs do not depend on the machine's speed.
    """
    steps = 0

    def trace(_frame: Any, _event: str, _argument: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > _MAX_STEPS:
            raise _TooLongError
        return trace

    def stop(_signal: int, _frame: Any) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, _MAX_S, 0.1)
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def tests_for(whole: Family, r: random.Random) -> Example | None:
    """Draw a function to write tests for; the answer's tests hold for it, and fail for a version with a fault."""
    drawn = draw(whole, r)
    cases = sorted((case for case in drawn.cases if len(repr(case)) <= _MAX_TOLD), key=lambda case: len(repr(case)))
    if len(cases) < 2:
        return None
    chosen = cases[: r.randint(2, 4)]
    checks = [case.check(drawn.name) for case in chosen]
    wrong = next((w for w in (faulty(drawn.source, r) for _ in range(_TRIES)) if w and _is_seen(w, checks)), None)
    if wrong is None:
        return None
    plain = r.random() < 0.3
    body = "\n".join(line for check in checks for line in check.splitlines())
    source = (
        f"{body}\n" if plain else f"def test_{drawn.name}():\n" + "".join(f"    {line}\n" for line in body.splitlines())
    )
    code = fenced(drawn.source) if r.random() < 0.5 else drawn.source.rstrip()
    prompt = filled(r.choice(wording("plain_tests" if plain else "tests")), "", drawn.name, code)
    # what is run: the tests of the answer on the function, and on the faulty one, where they have to fail
    made = _example("tests", drawn, prompt, source)
    return replace(made, subject=drawn.source, wrong=wrong, tests=())


def _is_seen(wrong: str, checks: list[str]) -> bool:
    """Say whether one of *checks* fails for a program."""
    for check in checks:
        scope: dict[str, Any] = {}
        try:
            exec(wrong, scope)
            with counting_lines():
                exec(check, scope)
        except Exception:  # noqa: BLE001 - any failure shows the fault
            return True
    return False


def result_question(whole: Family, r: random.Random) -> Example | None:
    """Draw a question for what a call gives; the answer says it."""
    drawn = draw(whole, r)
    cases = [
        case for case in drawn.cases if not case.is_change and not case.is_generator and len(repr(case)) < _MAX_TOLD
    ]
    if not cases or len(drawn.source) > 300:
        return None
    case = r.choice(cases)
    call = f"{drawn.name}({', '.join(map(repr, case.given))})"
    printed = r.random() < 0.4
    shown = f"{drawn.source}\nprint({call})" if printed else drawn.source.rstrip()
    code = fenced(shown) if r.random() < 0.4 else shown
    prompt = filled(r.choice(wording("print_questions" if printed else "result_questions")), call, drawn.name, code)
    result = str(case.result) if printed else repr(case.result)
    answer = f"It prints `{result}`." if printed else f"It returns `{result}`."
    return Example("question", whole.name, drawn.split, prompt, answer, expected=result)


def meaning_question(whole: Family, r: random.Random) -> Example | None:
    """Draw a question for what a function does; the answer says it in one sentence."""
    drawn = draw(whole, r)
    phrase = next((one for one in drawn.family.phrases if one.kind != "Q"), None)
    if phrase is None:
        return None
    text = phrase.text
    for argument, kind in drawn.family.arguments:
        text = text.replace(f"{{{argument}}}", kind.descriptions[0])
    leads = {"N": "return ", "B": "check if ", "V": ""}
    does = third_person(leads[phrase.kind] + text)
    code = fenced(drawn.source) if r.random() < 0.5 else drawn.source.rstrip()
    prompt = filled(r.choice(wording("meaning_questions")), "", drawn.name, code)
    return Example("meaning", whole.name, drawn.split, prompt, f"It {does}.")


def json_answer(whole: Family, r: random.Random) -> Example:
    """Draw a request whose answer is JSON with the program as one member."""
    drawn = draw(whole, r)
    prompt = filled(r.choice(wording("json")), drawn.asked.text, drawn.name)
    made = _example("json", drawn, prompt, drawn.source)
    return replace(made, answer=json.dumps({"code": drawn.source.rstrip()}), free_name=drawn.asked.name is None)


def change(whole: Family, r: random.Random) -> Example | None:
    """Draw a change of form: another name for the function or a parameter, a docstring, annotations."""
    drawn = draw(whole, r)
    before, (said, after, name) = (
        drawn.source.rstrip(),
        r.choice((_other_name, _other_argument, _docstring, _hints))(drawn, r),
    )
    if not after or after == drawn.source:
        return None
    if r.random() < _ANSWERED_SHARE:
        asked = filled(r.choice(wording("edits_after")), said, name)
        return _after(drawn, before, replace(_example("change", drawn, asked, after), name=name), r)
    code = fenced(before) if r.random() < 0.4 else before
    prompt = filled(r.choice(wording("edits")), said, name, code)
    return replace(_example("change", drawn, prompt, after), name=name)


def _other_name(drawn: Drawn, r: random.Random) -> tuple[str, str, str]:
    others = [name for name in drawn.family.names if name != drawn.name]
    new = r.choice(others or ["new_name"])
    said = r.choice(
        (f"rename the function to {new}", f"rename it to `{new}`", f"call it {new} instead of {drawn.name}")
    )
    return said, renamed(drawn.source, {drawn.name: new}), new


def _other_argument(drawn: Drawn, r: random.Random) -> tuple[str, str, str]:
    if not drawn.asked.arguments:
        return "", "", drawn.name
    i = r.randrange(len(drawn.asked.arguments))
    old, new = drawn.asked.arguments[i], r.choice(drawn.family.arguments[i][1].names)
    if new in drawn.source:
        return "", "", drawn.name
    said = r.choice((f"rename the parameter {old} to {new}", f"use {new} instead of {old} as the parameter's name"))
    return said, renamed(drawn.source, {old: new}), drawn.name


def _docstring(drawn: Drawn, r: random.Random) -> tuple[str, str, str]:
    phrase = next((one for one in drawn.family.phrases if one.kind == "V"), None)
    if phrase is None or "{" in phrase.text:
        return "", "", drawn.name
    head, _, body = drawn.source.partition("):\n")
    text = f'{head}):\n    """{phrase.text[:1].upper()}{phrase.text[1:]}."""\n{body}'
    return r.choice(("add a docstring", "document this function", "write a docstring for it")), text, drawn.name


def _hints(drawn: Drawn, r: random.Random) -> tuple[str, str, str]:
    tree = ast.parse(drawn.source)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    hints = [kind.hint for _, kind in drawn.family.arguments]
    named = " ".join([*hints, drawn.family.returns])
    if not drawn.family.returns or not hints or not set(re.findall(r"[A-Za-z_]\w*", named)) <= _BUILTINS:
        return "", "", drawn.name
    line = f"def {drawn.name}({', '.join(arg.arg for arg in function.args.args)}):"
    typed = ", ".join(f"{arg.arg}: {hint}" for arg, hint in zip(function.args.args, hints, strict=True))
    said = r.choice(("add type hints", "annotate the types", "add type annotations to this function"))
    return said, drawn.source.replace(line, f"def {drawn.name}({typed}) -> {drawn.family.returns}:"), drawn.name


def _example(kind: str, drawn: Drawn, prompt: str, source: str) -> Example:
    checks = tuple(case.check("candidate") for case in drawn.cases)
    return Example(kind, drawn.whole, drawn.split, prompt, fenced(source), "python", source, drawn.name, tests=checks)
