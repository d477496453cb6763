"""ES module syntax turned into `require` and `exports`, line by line, so that a text runs as the body of a function.

For JavaScript, and for TypeScript before its types are erased. Not a parser: of a declaration with several names only
the first is exported, and `await` outside of functions stays where it is, which only tests may have.
"""

import json
import re

from sandbox.suites.scan import Scanned, edit, scan

_IMPORT = re.compile(
    r"^[ \t]*import\s+(?P<type>type\s+)?(?:(?P<what>[\w$*{][^;'\"]*?)\s+from\s+)?(?P<from>['\"][^'\"\n]+['\"])[ \t]*;?",
    re.MULTILINE,
)
_EXPORT = re.compile(r"^[ \t]*export\b\s*(?P<default>default\s+)?(?=\S)", re.MULTILINE)
_EXPORTED = re.compile(
    r"(?:async\s+)?(?:function\s*\*?|(?:abstract\s+)?class|const\s+enum|enum|const|let|var)\s*([A-Za-z_$][\w$]*)"
)
_PATTERN = re.compile(r"(?:const|let|var)\s*(?=[{\[])")
_FROM = re.compile(r"\s*from\s*(['\"][^'\"\n]+['\"])[ \t]*;?")
_ALL = re.compile(r"\*\s*(?:as\s+([\w$]+)\s*)?from\s*(['\"][^'\"\n]+['\"])[ \t]*;?")
_BRACES = re.compile(r"\{([^{}]*)\}")
_DYNAMIC = r"(?<![\w.$])import\s*(?=\()"
_META = r"(?<![\w.$])import\s*\.\s*meta\b"
_FILE = 'process.cwd() + "/solution.js"'
_META_HERE = f'({{ url: "file://" + {_FILE}, filename: {_FILE}, dirname: process.cwd() }})'


def _required(literal: str) -> str:
    """Return the call that loads a module; a file of TypeScript has been made one of JavaScript."""
    is_own = literal[1] == "." and literal.endswith((".ts'", '.ts"'))
    return f"require({literal[:-4]}.js{literal[-1]})" if is_own else f"require({literal})"


def _requires(match: re.Match[str]) -> str:
    """Return the `require` that does what an import does, on as many lines."""
    lines = "\n" * match.group().count("\n")
    what = match["what"]
    if match["type"]:
        return lines
    module = _required(match["from"])
    if what is None:
        return f"{module};{lines}"
    parts = []
    braces = _BRACES.search(what)
    if braces:
        names = [name.strip() for name in braces[1].split(",") if name.strip() and not name.strip().startswith("type ")]
        listed = ", ".join(name.replace(" as ", ": ") for name in names)
        parts.append(f"{{{listed}}} = {module}")
    for name in (part.strip() for part in _BRACES.sub("", what).split(",")):
        if name.startswith("*"):
            parts.append(f"{name.split()[-1]} = {module}")
        elif name:
            parts.append(f"{name} = (m => m && m.default !== undefined ? m.default : m)({module})")
    return f"const {', '.join(parts)};{lines}" if parts else lines


def without_modules(text: str) -> str:
    """Return the text with its ES module syntax as CommonJS; every line stays where it is."""
    found = scan(text, "javascript")
    changes: list[tuple[int, int, str]] = []
    for match in _IMPORT.finditer(text):
        start = match.start() + len(match.group()) - len(match.group().lstrip())
        if found.blank[start : start + 6] == "import" and found.depths[start] == 0:
            changes.append((match.start(), match.end(), _requires(match)))
    changes += [(match.start(), match.end(), "(async (name) => require(name))") for match in found.find(_DYNAMIC)]
    changes += [(match.start(), match.end(), _META_HERE) for match in found.find(_META)]
    exported: list[str] = []
    changes += [_export(found, match, exported) for match in found.find(_EXPORT.pattern, depth=0)]
    return edit(text, changes) + (f"\n;{' '.join(exported)}" if exported else "")


def _export(found: Scanned, match: re.Match[str], exported: list[str]) -> tuple[int, int, str]:
    """Return the change that removes one `export`, and add the assignments that stand for it."""
    start, end = match.start(), match.end()
    rest = found.blank[end:]
    named = _EXPORTED.match(rest)
    if match["default"]:
        if named and not rest.startswith(("const", "let", "var")):
            exported.append(f"module.exports.default = {named[1]};")
            return start, end, ""
        return start, end, "module.exports.default = "
    everything = _ALL.match(found.text, end)
    types = re.match(r"type\s*(?=\{)", rest)
    if everything and rest.startswith("*"):
        exported.append(_all_of(everything))
        return start, everything.end(), ""
    if rest.startswith("{") or types:
        return _listed(found, start, end + (types.end() if types else 0), [] if types else exported)
    if rest.startswith("=") and not rest.startswith("=="):
        return start, end, "module.exports "
    if named:
        exported.append(f"module.exports[{json.dumps(named[1])}] = {named[1]};")
    elif pattern := _PATTERN.match(rest):
        opening = end + pattern.end()
        inside = found.text[opening + 1 : found.closing(opening)]
        names = [re.sub(r"=.*|.*:|\.\.\.", "", part, flags=re.DOTALL).strip() for part in inside.split(",")]
        exported += [f"module.exports[{json.dumps(name)}] = {name};" for name in names if name]
    return start, end, ""


def _all_of(match: re.Match[str]) -> str:
    """Return the assignment of everything that another module exports."""
    module = _required(match[2])
    return f"module.exports.{match[1]} = {module};" if match[1] else f"Object.assign(module.exports, {module});"


def _listed(found: Scanned, start: int, opening: int, exported: list[str]) -> tuple[int, int, str]:
    """Return the change that removes `export { ... }`, and add an assignment for each name in it."""
    end = found.closing(opening) + 1
    names = found.text[opening + 1 : end - 1].split(",")
    source = _FROM.match(found.text, end)
    end = source.end() if source else end
    for part in names:
        name, _, alias = (word.strip() for word in part.partition(" as "))
        if name and not name.startswith("type "):
            value = f"{_required(source[1])}.{name}" if source else name
            exported.append(f"module.exports[{json.dumps(alias or name)}] = {value};")
    return start, end, "\n" * found.text[start:end].count("\n")
