"""Advice on names that do not exist: variables, members, keys, modules.

Each adviser names what is missing, what was probably meant, and the line that would make it known. They suggest; they
never say that a change is enough.
"""

import re

from sandbox.analysis import library
from sandbox.analysis.names import members_of, nearest, texts_of, words_of
from sandbox.analysis.situation import Situation

_QUOTED = re.compile(r"['`\"]([A-Za-z_$][\w$.:/@-]*?)[(;]?['`\"]")
_BARE = (
    re.compile(r"^undefined: ([\w.]+)"),
    re.compile(r"^([\w$]+) is not defined"),
    re.compile(r"^(?:\./)?([\w.$-]+): (?:unbound variable|command not found)"),
    re.compile(r"^([\w$]+) declared (?:but|and) not used"),
)
_MEANT = re.compile(r"(?i)did you mean:? (?:to use )?['`\"]?([A-Za-z_][\w.]*)")
_UNBOUND = re.compile(r"(?:local variable|free variable) '(\w+)'|Cannot access '(\w+)' before initialization")
_PYTHON_MEMBER = re.compile(
    r"(?:module '(?P<module>[\w.]+)'|type object '(?P<type>\w+)'|'(?P<kind>\w+)' object)"
    r" has no attribute '(?P<member>\w+)'"
)
_MEMBERS = (
    re.compile(r"has no member named '(\w+)'"),
    re.compile(r"'(\w+)' is not a member of"),
    re.compile(r"Property '(\w+)' does not exist"),
    re.compile(r"no (?:field|method named|method|function or associated item named|variant named) `(\w+)`"),
    re.compile(r"\.(\w+) undefined \(type"),
    re.compile(r"no field or method (\w+)"),
)
_CANNOT_IMPORT = re.compile(r"cannot import name '(\w+)' from (?:partially initialized module )?'([\w.]+)'")
_KEY = re.compile(r"^(?:[\w\[\]. -]+: )?(['\"]?)(.*?)\1(?: \(line \d+\))?$")
_HEADER = re.compile(r"^([\w./+-]+): No such file")


def missing_name(message: str) -> str | None:
    """Return the name that a message says is not known."""
    for pattern in _BARE:
        if bare := pattern.search(message):
            return bare[1]
    quoted = _QUOTED.search(message)
    return quoted[1] if quoted else None


def advise_on_name(s: Situation) -> str:
    """Advise on a variable or function that is not defined."""
    message = s.cause.message
    unbound = _UNBOUND.search(message)
    if unbound:
        name = unbound[1] or unbound[2]
        is_python = s.language == "python"
        outer = f", or declare it `global` or `nonlocal` if an outer `{name}` is meant" if is_python else ""
        return f"`{name}` is read{s.where} before it gets a value: give it one on every path first{outer}."
    name = missing_name(message)
    if name is None:
        return f"A name is not known{s.where}: {message}."
    if "not used" in message:
        return f"`{name}` is never used{s.where}: use it or remove it."
    if s.cause.error_class == "LinkError":
        if "multiple" in message:
            return f"`{name}` is defined more than once: keep one definition."
        return f"`{name}` is declared but never defined: write its body, or call what exists."
    return _unknown_name(s, name, message)


def _unknown_name(s: Situation, name: str, message: str) -> str:
    start = f"`{name}` is not defined{s.where}"
    if message.endswith("command not found"):
        return f"{start}: there is no such command here; use a builtin, define a function, or correct the name."
    added = library.import_line(s.language, name.removeprefix("std::"))
    if added is not None and added in s.report.code and s.language == "cpp":
        return f"{start}: write `std::{name}`."
    if added is not None and added not in s.report.code:
        return f"{start}: add `{added}`."
    if s.cause.hint:
        return f"{start}: {s.cause.hint}"
    meant = _meant(message) or nearest(name, words_of("\n".join(s.lines)) | library.builtin_names(s.language))
    if meant:
        return f"{start}: did you mean `{meant}`?"
    return f"{start}: define it before this line, pass it as a parameter, or import it."


def _meant(message: str) -> str | None:
    told = _MEANT.search(message)
    return told[1] if told else None


def advise_on_attribute(s: Situation) -> str:
    """Advise on a member that a value does not have."""
    message = s.cause.message
    python = _PYTHON_MEMBER.search(message)
    if python:
        return _python_member(s, python)
    member = next((told[1] for pattern in _MEMBERS if (told := pattern.search(message))), None)
    if member is None:
        return f"A member does not exist{s.where}: {message}."
    if s.cause.hint:
        return f"`{member}` does not exist{s.where}: {s.cause.hint}"
    code = "\n".join(s.lines)
    known = members_of(code) | library.member_names(s.language, None)
    meant = nearest(member, known) or nearest(member, words_of(code))
    return f"`{member}` does not exist{s.where}: {f'did you mean `{meant}`?' if meant else message}"


def _python_member(s: Situation, told: re.Match[str]) -> str:
    member, kind = told["member"], told["kind"] or told["type"]
    if told["module"]:
        return f"The module `{told['module']}` has no `{member}`: check the name, or that no file of yours hides it."
    if kind == "NoneType":
        return (
            f"`.{member}` is asked of None{s.where}: the value before it is None, often because a function returns "
            "nothing on some path; return a value, or test for None first."
        )
    other = library.OTHER_LANGUAGES_MEMBERS.get((kind, member))
    if other is None:
        own = members_of("\n".join(s.lines)) | words_of("\n".join(s.lines))
        known = library.member_names(s.language, kind)
        other = _meant(s.cause.message) or nearest(member, known or own)
    advice = f"use `{other}`" if other else "define it, or ask the value that has it"
    return (
        f"`{kind}` has no `{member}`{s.where}: {advice.replace('`the ', 'the `', 1) if '`the ' in advice else advice}."
    )


def advise_on_key(s: Situation) -> str:
    """Advise on a key that a mapping does not have."""
    told = _KEY.match(s.cause.message)
    key = told[2] if told and told[2] and "entry found" not in s.cause.message and "::" not in told[2] else None
    if key is None:
        return f"A key is missing from the map{s.where}: insert it first, or look it up with a default."
    meant = nearest(key, texts_of("\n".join(s.lines)))
    if meant:
        return f"The key {_shown(told, key)} does not exist{s.where}: did you mean '{meant}'?"
    return (
        f"The key {_shown(told, key)} does not exist{s.where}: set it before it is read, or read it with "
        "`.get(key, default)`."
    )


def _shown(told: re.Match[str] | None, key: str) -> str:
    return f"'{key}'" if told and told[1] else key


def advise_on_import(s: Situation) -> str:
    """Advise on a module, a header or a package that cannot be found or is not used."""
    message = s.cause.message
    if s.cause.error_class == "DependencyError":
        return f"A requirement could not be installed: {message}. Correct its name or version, or do without it."
    if cannot := _CANNOT_IMPORT.search(message):
        return _missing_member(s, cannot[1], cannot[2])
    if header := _HEADER.search(message):
        return f"There is no header `{header[1]}` here{s.where}: use the standard library only, or add the file."
    name = missing_name(message)
    if name is None:
        return f"Something cannot be imported{s.where}: {message}."
    return _missing_module(s, name, message)


def _missing_module(s: Situation, name: str, message: str) -> str:
    if "not used" in message:
        return f'"{name}" is imported and not used{s.where}: remove the import.'
    if s.language != "python":
        hint = f" ({s.cause.hint})" if s.cause.hint else ""
        return f"`{name}` is not installed here{s.where}{hint}: use the standard library only."
    meant = nearest(name.partition(".")[0], library.standard_modules())
    if meant and not library.is_standard_module(name):
        return f"There is no module `{name}`{s.where}: did you mean `{meant}`? Else name its package in `requirements`."
    return f"There is no module `{name}`{s.where}: name its package in `requirements`, or use the standard library."


def _missing_member(s: Situation, name: str, module: str) -> str:
    if module == "solution":  # the tests ask the program for it
        meant = nearest(name, words_of("\n".join(s.lines)))
        seen = f"; it has `{meant}`, rename that" if meant else ""
        return f"The tests import `{name}` from the program, which does not define it{seen}."
    near = nearest(name, library.names_in(module))
    return f"`{module}` has no `{name}`{s.where}: " + (
        f"did you mean `{near}`?" if near else "check the name, and the module that has it."
    )
