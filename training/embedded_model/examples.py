"""One example: what somebody asks, the answer to learn, and how an answer is judged.

`draw_example` takes a family to a request and its program; repairs, tests and questions start from the same.
Nothing here decides how often what is drawn.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from training.embedded_model.cases import Case, cases, draw_parameters
from training.embedded_model.families import Family, program
from training.embedded_model.phrasing import Asked, ask, function_name, slip, wording
from training.embedded_model.programs import fenced, folded, renamed
from training.embedded_model.splits import Split, split_of

MAX_SHOWN_CHARS: Final = 90  # of a case that stands in a prompt
_LANGUAGES: Final = {"bash": "bash", "javascript": "javascript"}


@dataclass(frozen=True)
class Example:
    """A request and its answer. `tests` judge any answer as `candidate`; for scripts they are (input, output) pairs.

    `source` is the program of the answer, `name` what `candidate` is called in it. `free_name` says that the request
    does not give the name, so that an answer may choose one. Tests that are the answer pass for `subject` and fail for
    `wrong`. `expected` stands in an answer that is text. `tools` are the functions that may be called.
    `earlier` is what was said before the prompt, in turns: the user, the model. `role` says who speaks in the prompt if
    it is not the user.
    """

    kind: str
    family: str
    split: Split
    prompt: str
    answer: str
    language: Literal["python", "bash", "javascript", ""] = ""
    source: str = ""
    name: str = ""
    free_name: bool = False
    tests: Sequence[str] = ()
    runs: Sequence[tuple[str, str]] = ()
    subject: str = ""
    wrong: str = ""
    expected: str = ""
    system: str = ""
    tools: Sequence[dict[str, Any]] = ()
    earlier: Sequence[str] = ()
    role: Literal["", "tool"] = ""


@dataclass(frozen=True)
class Drawn:
    """A family with parameters, a phrase and names chosen, and the program that answers it."""

    whole: str
    family: Family
    asked: Asked
    split: Split
    source: str
    name: str
    cases: tuple[Case, ...]


def draw_example(whole: Family, r: random.Random) -> Example:
    """Draw one request for a family, with its answer."""
    if whole.kind == "class":
        return _class_example(whole, r)
    if whole.kind in ("script", "bash"):
        return _script_example(whole, r)
    if whole.kind == "edit":
        return _edit_example(whole, r)
    drawn = draw(whole, r)
    prompt = drawn.asked.text if whole.kind == "javascript" else with_cases(drawn, r)
    if whole.kind == "javascript":
        prompt = _in_language(prompt, "JavaScript", r)
    language = _LANGUAGES.get(whole.kind, "python")
    return Example(
        kind=whole.kind,
        family=whole.name,
        split=drawn.split,
        prompt=prompt,
        answer=fenced(drawn.source, language),
        language=language,  # type: ignore[arg-type]  # of the three above
        source=drawn.source,
        name=drawn.name,
        free_name=drawn.asked.name is None and drawn.name not in prompt,
        tests=_tests(drawn, language),
        system=_system(r),
    )


def draw(whole: Family, r: random.Random) -> Drawn:
    """Draw parameters, a phrase, names and a program for a function, in Python or JavaScript."""
    family, values = draw_parameters(whole, r)
    index = r.randrange(len(family.phrases))
    split = split_of(family, whole.phrases[index], values, whole)
    asked = ask(family, family.phrases[index], r)
    while family.kind == "javascript" and "def " in asked.text:
        asked = ask(family, family.phrases[index], r)
    name = asked.name or family.name
    solution = _solution(family, r)
    own = [family.name, *(argument for argument, _ in family.arguments)]
    names = dict(zip(own, [name, *asked.arguments], strict=True))
    if family.kind == "javascript":
        source = re.sub(r"(?<![.\w'\"])[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), solution) + "\n"
    else:
        source = renamed(folded(program(family, solution)), names)
    return Drawn(whole.name, family, asked, split, source, name, cases(family))


def _solution(family: Family, r: random.Random) -> str:
    """Draw a program, the first one most often."""
    return family.solutions[0] if r.random() < 0.6 else r.choice(family.solutions)


def _tests(drawn: Drawn, language: str) -> tuple[str, ...]:
    if language == "javascript":
        return tuple(_javascript_check(case) for case in drawn.cases)
    return tuple(case.check("candidate") for case in drawn.cases)


def _javascript_check(case: Case) -> str:
    given = ", ".join(json.dumps(argument) for argument in case.given)
    return f"assert.deepStrictEqual(candidate({given}), {json.dumps(case.result)});"


def with_cases(drawn: Drawn, r: random.Random) -> str:
    """Return the request; let some requests show what is expected: examples, asserts, a table."""
    text = drawn.asked.text
    if r.random() >= 0.3 or drawn.asked.text.endswith("```"):
        return text
    shown = [case for case in drawn.cases if not case.is_change and not case.is_generator and _is_short(case)]
    if not shown:
        return text
    picked = r.sample(shown, min(len(shown), r.randint(1, 3)))
    name = drawn.asked.name or drawn.name
    style = r.choice(("asserts", "asserts", "doctest", "example", "arrow", "returns"))
    if style == "asserts":
        lines = "\n".join(f"assert {_call(name, case)} == {case.result!r}" for case in picked)
        lead = r.choice(("\n\n", "\n\nIt must pass these tests:\n", "\nTests:\n", "\n\nYour code should satisfy:\n"))
        return text + lead + lines
    if style == "doctest":
        return text + "\n\n" + "\n".join(f">>> {_call(name, case)}\n{case.result!r}" for case in picked)
    call, result = _call(name, picked[0]), repr(picked[0].result)
    told = {
        "example": f"For example, {call} should return {result}.",
        "returns": f"Example: {call} returns {result}",
        "arrow": f"e.g. {', '.join(map(repr, picked[0].given))} -> {result}",
    }
    return f"{_ended(text)} {told[style]}"


def _is_short(case: Case) -> bool:
    return len(repr(case.given)) + len(repr(case.result)) <= MAX_SHOWN_CHARS


def _call(name: str, case: Case) -> str:
    return f"{name}({', '.join(map(repr, case.given))})"


def _ended(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else text + "."


def _system(r: random.Random) -> str:
    return r.choice(wording("systems")) if r.random() < 0.15 else ""


def _in_language(prompt: str, language: str, r: random.Random) -> str:
    """Say which language is wanted, where the words do not name Python."""
    prompt = re.sub(r"\b[Pp]ython\b", language, prompt)
    if language in prompt:
        return prompt
    return r.choice(
        (f"{prompt} (in {language})", f"{language}: {prompt}", f"In {language}: {prompt}", f"{prompt} {language}")
    )


def _class_example(whole: Family, r: random.Random) -> Example:
    family, values = draw_parameters(whole, r)
    index = r.randrange(len(family.phrases))
    name = r.choice(family.names) if family.names and r.random() < 0.4 else family.name
    said = family.phrases[index]
    key = {"N": "classes", "V": "class_orders", "Q": "questions", "B": "classes"}[said.kind]
    template = r.choice(wording(key))
    is_named = "{f}" in template or re.search(rf"\b{family.name}\b", said.text) is not None
    if not is_named:
        name = family.name
    text = re.sub(rf"\b{family.name}\b", name, said.text)
    prompt = filled(template, text, name)
    source = renamed(program(family, _solution(family, r)), {family.name: name})
    checks = tuple(check.replace("\\n", "\n") for check in family.checks)
    split = split_of(family, whole.phrases[index], values, whole)
    return Example(
        "class", whole.name, split, slip(prompt, r), fenced(source), "python", source, name, not is_named, checks,
        system=_system(r),
    )  # fmt: skip


def _script_example(whole: Family, r: random.Random) -> Example:
    family, values = draw_parameters(whole, r)
    index = r.randrange(len(family.phrases))
    said = family.phrases[index]
    key = {"N": "things", "V": "script_orders", "Q": "questions", "B": "script_orders"}[said.kind]
    prompt = filled(r.choice(wording(key)), said.text, "")
    if family.statements and r.random() < 0.6:
        prompt = f"{_ended(prompt)} {r.choice(family.statements)}"
    language = _LANGUAGES.get(whole.kind, "python")
    if language == "bash":
        prompt = _in_language(prompt, r.choice(("bash", "Bash", "bash", "a shell script")), r)
    source = _solution(family, r) + "\n"
    runs = tuple((case.given, case.result) for case in cases(family))
    split = split_of(family, whole.phrases[index], values, whole)
    return Example(
        whole.kind, whole.name, split, slip(prompt, r), fenced(source, language), language,  # type: ignore[arg-type]
        source, runs=runs, system=_system(r),
    )  # fmt: skip


def _edit_example(whole: Family, r: random.Random) -> Example:
    family, values = draw_parameters(whole, r)
    index = r.randrange(len(family.phrases))
    name = function_name(family, r)
    names = {family.name: name}
    before = renamed(program(family, family.before), names).rstrip()
    source = renamed(program(family, _solution(family, r)), names)
    said = family.phrases[index].text
    shown = fenced(before) if r.random() < 0.4 else before
    prompt = filled(r.choice(wording("edits")), said, name, code=shown)
    tests = tuple(case.check("candidate") for case in cases(family))
    split = split_of(family, whole.phrases[index], values, whole)
    return Example(
        "edit", whole.name, split, prompt, fenced(source), "python", source, name, tests=tests, system=_system(r)
    )


def filled(template: str, text: str, name: str, code: str = "") -> str:
    """Put what is said, a name and code in the places of a template of `wording.toml`."""
    capital = text[:1].upper() + text[1:]
    values = {"c": text, "C": capital, "q": text, "Q": capital, "f": name, "code": code}
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)
