"""A build step that refuses a program which defines what its tests compare with, under whatever name it was written.

Compilers call `memcmp` for strings and containers that are compared, and a definition of the program's goes before the
C library's. Macros, labels and attributes hide such a definition from who reads the source; the linked file has it.
Not covered: code that the program patches while it runs.
"""

from sandbox.recipes import Step

# What comparisons are made of. `strlen` and its like are no such functions: they have to give one right answer.
COMPARED = (
    *("memcmp", "bcmp", "strcmp", "strncmp", "strcasecmp", "strncasecmp", "strcoll", "wcscmp", "wcsncmp", "wmemcmp"),
    *("strstr", "strchr", "fabs", "fabsf", "fabsl"),
)
_SCRIPT = r"""
symbols=$(nm --defined-only "$1") || exit 1
found=$(printf '%s\n' "$symbols" | sed -n -E "s/^[0-9a-f]* [A-Za-z] ($3)\$/\1/p")
[ -z "$found" ] && exit 0
echo "$2:1:1: error: the program defines" $found", with which its tests compare" >&2
exit 1
"""


def refuse_replaced(binary: str, tests: str, allowed: frozenset[str] = frozenset()) -> Step:
    """Return the step. `tests` is the file of the tests, as messages call it; `allowed` names may be defined."""
    names = "|".join(name for name in COMPARED if name not in allowed)
    return Step(("sh", "-c", _SCRIPT, "symbols", binary, tests, names))
