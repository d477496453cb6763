"""TypeScript: translated and bundled by esbuild, run by Node.js, its types checked beside that by the native compiler.

Types are erased, so a program with type errors still runs; what the checker says is reported apart (`type_errors`) and
clears `compile_success`. The checker keeps no state between programs: cold it takes a tenth of a second, and a warm
language service would have to be shared by programs that do not trust each other. Types are those of ECMAScript and
Node.js; those of browsers are added only when a program uses a name that is in neither.
"""

import io
import re
import tarfile
import threading
from collections.abc import Mapping

from sandbox.builds import Build, Builder
from sandbox.diagnostics import COMPILE_ERROR, MAX_ERRORS, NOTHING_SAID, SYNTAX_ERROR, Diagnostic
from sandbox.errors import ExecutionCancelledError, SandboxError
from sandbox.node_tools import TYPE_ROOTS
from sandbox.recipes import Recipe, Step
from sandbox.types import Limits

SOURCE = "solution.ts"
MAX_ERROR_CHARS = 500
MAX_REPORT_BYTES = 1 << 20
HEAP_SHARE_PERCENT = 75  # of the memory limit, so that JavaScript says that its heap is full before the kernel kills it
MIN_HEAP_MIB = 16
TARGET = "es2023"
_COMMON_JS, _MODULE, _TYPES = "program.cjs", "program.mjs", "types.txt"
_BUNDLE = (
    *(SOURCE, "--bundle", "--platform=node", "--packages=external", f"--target={TARGET}", "--log-level=error"),
    *("--sourcemap=inline", "--sources-content=false", "--log-override:empty-import-meta=error"),
)
# What scripts of Node.js expect to be there and modules do not have.
_BANNER = (
    'import { createRequire as cinqueRequire } from "node:module";'
    'import { fileURLToPath as cinquePath } from "node:url";'
    "const require = cinqueRequire(import.meta.url), __filename = cinquePath(import.meta.url);"
    'const __dirname = require("node:path").dirname(__filename), module = { exports: {} };'
    "require.main = module;"
)
# A script unless it uses what only modules have: then esbuild says one of these, and it is made a module.
_BUILD = f"""
if esbuild "$@" --format=cjs --outfile={_COMMON_JS} 2>errors.txt; then : >{_MODULE}; exit 0; fi
if grep -q -e 'Top-level await is currently not supported' -e 'empty-import-meta' errors.txt; then
  esbuild "$@" --format=esm --banner:js="$BANNER" --outfile={_MODULE} && : >{_COMMON_JS}
  exit
fi
cat errors.txt >&2
exit 1
"""
_RUN = f'if [ -s {_MODULE} ]; then exec node "$@" {_MODULE}; else exec node "$@" {_COMMON_JS}; fi'
_CHECK = (
    *(SOURCE, "--ignoreConfig", "--noEmit", "--strict", "--target", TARGET, "--module", "preserve"),
    *("--moduleDetection", "force", "--skipLibCheck", "--allowImportingTsExtensions", "--resolveJsonModule"),
    *("--types", "node", "--singleThreaded", "--pretty", "false"),
)
# 2304 and 2584: a name that is not known, which the types of browsers may have. Status 1 and 2: there were errors.
_CHECK_TYPES = f"""
check() {{ tsc "$@" --typeRoots "${TYPE_ROOTS}" 2>&1; status=$?; [ $status -le 2 ] || exit $status; }}
count() {{ grep -c 'error TS' "$1"; }}
check "$@" --lib {TARGET} >{_TYPES}
if grep -q -e 'error TS2584' -e "error TS2304: Cannot find name '[A-Z]" {_TYPES}; then
  check "$@" --lib {TARGET},dom,dom.iterable >browser.txt
  if [ "$(count browser.txt)" -lt "$(count {_TYPES})" ]; then mv browser.txt {_TYPES}; fi
fi
exit 0
"""
_ESBUILD = re.compile(r"^\S+ \[ERROR\] (?P<text>.*)$(?:\n\s*\n? *(?P<file>[^\s:]+):(?P<line>\d+):\d+:$)?", re.MULTILINE)
_NOT_SYNTAX = ("Could not resolve", "No matching export", "Could not read")
_TYPE_ERROR = re.compile(r"^(?:[^\s(][^(\n]*\(\d+,\d+\): )?error TS\d+: .*$(?:\n[ \t]+.*$)*", re.MULTILINE)


def recipe(files: Mapping[str, str], limits: Limits) -> Recipe:
    """Translate the candidate and what it imports of the workspace into one script or module, and start that."""
    heap = f"--max-old-space-size={max(MIN_HEAP_MIB, limits.memory_bytes * HEAP_SHARE_PERCENT // 100 >> 20)}"
    return Recipe(
        files=dict(files),
        steps=(Step(("sh", "-c", _BUILD, "esbuild", *_BUNDLE)),),
        artefacts=(_COMMON_JS, _MODULE),
        run=("sh", "-c", _RUN, "node", "--no-warnings", "--enable-source-maps", heap),
        toolchain="node esbuild",
        environment={"BANNER": _BANNER},
    )


def check(files: Mapping[str, str]) -> Recipe:
    """Parse; types and imports are not looked at."""
    name = next(iter(files))
    step = Step(("esbuild", name, f"--target={TARGET}", "--log-level=error", "--outfile=parsed.js"))
    return Recipe(dict(files), (step,), (), (), "esbuild")


def types(files: Mapping[str, str]) -> Recipe:
    """Check the types; what the compiler says becomes the only artefact."""
    step = Step(("sh", "-c", _CHECK_TYPES, "tsc", *_CHECK))
    return Recipe(dict(files), (step,), (_TYPES,), (), "tsc")


def read_errors(text: str) -> tuple[Diagnostic, ...]:
    """Read what esbuild prints."""
    found = []
    for match in _ESBUILD.finditer(text):
        kind = COMPILE_ERROR if match["text"].startswith(_NOT_SYNTAX) else SYNTAX_ERROR
        found.append(Diagnostic(kind, match["text"].strip(), None if match["line"] is None else int(match["line"])))
    if found:
        return tuple(found[:MAX_ERRORS])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (Diagnostic(COMPILE_ERROR, lines[-1] if lines else NOTHING_SAID),)


def read_type_errors(report: str) -> tuple[str, ...]:
    """Return each error that the compiler reports, as in "solution.ts(3,7): error TS2322: Type ...", at most 20."""
    found = [match[0].strip()[:MAX_ERROR_CHARS] for match in _TYPE_ERROR.finditer(report)]
    return tuple(found[:MAX_ERRORS])


class TypeCheck(threading.Thread):
    """Checks the types of one program while the calling thread runs it. Start it, and always `finish` it."""

    def __init__(self, builder: Builder, recipe: Recipe, cancelled: threading.Event | None) -> None:
        super().__init__(name="sandbox-types")
        self._builder = builder
        self._recipe = recipe
        self._cancelled = cancelled
        self._build: Build | None = None
        self._error: SandboxError | None = None

    def run(self) -> None:
        """Check the types in a job of their own."""
        try:
            self._build = self._builder.build(self._recipe, None, self._cancelled)
        except SandboxError as error:
            self._error = error

    def finish(self) -> tuple[str, ...]:
        """Return the type errors; raises `SandboxError` when the checker could not be run."""
        self.join()
        if isinstance(self._error, ExecutionCancelledError):
            return ()  # whoever runs the program says so
        if self._error is not None:
            raise self._error
        if self._build is None or self._build.artefacts is None:
            return ("the types could not be checked: the compiler failed or reached a limit",)
        return read_type_errors(_report(self._build.artefacts))


def _report(artefacts: bytes) -> str:
    """Return the text of the report in a build's artefacts, which a hostile program may have influenced."""
    try:
        with tarfile.open(fileobj=io.BytesIO(artefacts), mode="r:") as tar:
            file = tar.extractfile(_TYPES)
            return "" if file is None else file.read(MAX_REPORT_BYTES).decode("utf-8", "replace")
    except (tarfile.TarError, KeyError):
        return "error TS0: the compiler's report cannot be read"
