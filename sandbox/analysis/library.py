"""What a missing name is in a language's standard library: the line that makes it known.

Python's own modules are asked of the interpreter; the rest are the names that generated programs forget most. Nothing
here is imported or executed on behalf of a program.
"""

import builtins
import sys
from collections.abc import Iterable, Mapping


def _lines(form: str, homes: Mapping[str, str]) -> dict[str, str]:
    return {name: form.format(home=home, name=name) for home, names in homes.items() for name in names.split()}


_PYTHON = _lines(
    "from {home} import {name}",
    {
        "collections": "defaultdict Counter deque OrderedDict namedtuple ChainMap",
        "functools": "lru_cache cache reduce partial wraps cmp_to_key total_ordering cached_property",
        "heapq": "heappush heappop heapify nlargest nsmallest heapreplace heappushpop",
        "bisect": "bisect_left bisect_right insort",
        "math": "sqrt gcd lcm ceil floor inf pi log log2 factorial comb isqrt prod hypot",
        "itertools": "permutations combinations product accumulate chain groupby islice zip_longest cycle repeat",
        "typing": "List Dict Optional Tuple Any Union Callable Set Iterable Iterator Sequence TypeVar Generic Protocol",
        "dataclasses": "dataclass field asdict replace",
        "enum": "Enum IntEnum StrEnum auto",
        "datetime": "timedelta timezone",
        "pathlib": "Path",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "copy": "deepcopy",
        "abc": "ABC abstractmethod",
        "contextlib": "contextmanager suppress",
        "string": "ascii_lowercase ascii_uppercase ascii_letters digits punctuation",
        "operator": "itemgetter attrgetter",
        "io": "StringIO BytesIO",
        "concurrent.futures": "ThreadPoolExecutor ProcessPoolExecutor",
    },
) | {"np": "import numpy as np", "pd": "import pandas as pd", "plt": "import matplotlib.pyplot as plt"}

_JAVASCRIPT = {
    **_lines(
        'const {name} = require("{home}");',
        {
            "assert": "assert",
            "fs": "fs",
            "path": "path",
            "util": "util",
            "os": "os",
            "crypto": "crypto",
            "http": "http",
        },
    ),
    **_lines(
        'const {{ {name} }} = require("{home}");',
        {"util": "promisify inspect", "fs": "readFileSync writeFileSync existsSync", "events": "EventEmitter"},
    ),
}

_C = _lines(
    "#include <{home}>",
    {
        "stdio.h": "printf scanf puts getchar putchar fprintf sprintf snprintf fgets fopen fclose stdin stdout stderr",
        "stdlib.h": "malloc calloc realloc free exit atoi atof qsort abs rand srand strtol abort EXIT_FAILURE",
        "string.h": "strlen strcmp strcpy strncpy strcat strchr strstr memcpy memset memmove strdup strtok strncmp",
        "math.h": "sqrt pow fabs floor ceil sin cos log exp fmod round M_PI",
        "ctype.h": "isalpha isdigit isspace toupper tolower isupper islower isalnum ispunct",
        "stdbool.h": "bool true false",
        "stdint.h": "int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t INT64_MAX UINT32_MAX",
        "limits.h": "INT_MAX INT_MIN LONG_MAX LONG_MIN UINT_MAX CHAR_BIT",
        "assert.h": "assert",
        "time.h": "time clock CLOCKS_PER_SEC",
        "stddef.h": "size_t ptrdiff_t",
        "errno.h": "errno",
    },
)

_CPP = _C | _lines(
    "#include <{home}>",
    {
        "vector": "vector",
        "string": "string to_string stoi stol stoll stod getline",
        "iostream": "cout cin cerr endl",
        "map": "map multimap",
        "set": "set multiset",
        "unordered_map": "unordered_map",
        "unordered_set": "unordered_set",
        "algorithm": "sort reverse max_element min_element find count lower_bound upper_bound swap transform all_of",
        "numeric": "accumulate iota gcd lcm",
        "memory": "unique_ptr shared_ptr make_unique make_shared",
        "queue": "queue priority_queue",
        "stack": "stack",
        "deque": "deque",
        "functional": "function greater less hash",
        "utility": "pair make_pair move",
        "optional": "optional nullopt",
        "sstream": "stringstream istringstream ostringstream",
        "iomanip": "setprecision setw fixed",
        "limits": "numeric_limits",
        "stdexcept": "runtime_error invalid_argument out_of_range logic_error",
        "array": "array",
        "tuple": "tuple make_tuple",
        "cassert": "assert",
        "climits": "INT_MAX INT_MIN",
        "cmath": "sqrt pow",
    },
)

_RUST = _lines(
    "use std::{home}::{name};",
    {
        "collections": "HashMap HashSet BTreeMap BTreeSet VecDeque BinaryHeap",
        "rc": "Rc",
        "sync": "Arc Mutex RwLock",
        "cell": "RefCell Cell",
        "cmp": "Ordering Reverse",
        "fmt": "Display Debug Write",
        "io": "Read BufRead",
        "str": "FromStr",
    },
)

_GO = _lines(
    'import "{home}"',
    {
        "fmt": "fmt",
        "strings": "strings",
        "strconv": "strconv",
        "sort": "sort",
        "os": "os",
        "errors": "errors",
        "math": "math",
        "bytes": "bytes",
        "bufio": "bufio",
        "io": "io",
        "time": "time",
        "sync": "sync",
        "sync/atomic": "atomic",
        "unicode": "unicode",
        "unicode/utf8": "utf8",
        "regexp": "regexp",
        "context": "context",
        "reflect": "reflect",
        "math/rand": "rand",
        "math/big": "big",
        "math/bits": "bits",
        "encoding/json": "json",
        "container/heap": "heap",
        "container/list": "list",
    },
)

_LINES = {"python": _PYTHON, "javascript": _JAVASCRIPT, "typescript": _JAVASCRIPT, "c": _C, "cpp": _CPP}
_LINES |= {"rust": _RUST, "go": _GO}

_MEMBERS: dict[str, str] = {
    "javascript": "push pop shift unshift slice splice map filter reduce forEach find findIndex some every includes "
    "indexOf join concat reverse sort flat flatMap fill keys values entries length split trim toUpperCase "
    "toLowerCase replace charAt charCodeAt substring startsWith endsWith padStart padEnd repeat match toString has get "
    "set add delete size",
    "go": "Println Printf Sprintf Errorf Split Join Contains Replace ToUpper ToLower TrimSpace Fields Itoa Atoi Sort "
    "Strings Ints Error New String Len",
    "rust": "push pop len iter iter_mut into_iter map filter collect insert remove contains get unwrap expect clone "
    "to_string as_str chars split trim parse sort sort_by is_empty extend entry keys values contains_key push_str",
    "cpp": "push_back pop_back size empty begin end front back insert erase find count substr length clear at "
    "emplace_back push pop top c_str append reserve resize",
}
_MEMBERS["typescript"] = _MEMBERS["javascript"]

OTHER_LANGUAGES_MEMBERS: dict[tuple[str, str], str] = {
    ("list", "push"): "append",
    ("list", "add"): "append",
    ("list", "push_back"): "append",
    ("list", "length"): "len(...)",
    ("list", "size"): "len(...)",
    ("list", "contains"): "the `in` operator",
    ("list", "map"): "a list comprehension",
    ("list", "filter"): "a list comprehension",
    ("list", "indexOf"): "index",
    ("str", "length"): "len(...)",
    ("str", "size"): "len(...)",
    ("str", "contains"): "the `in` operator",
    ("str", "includes"): "the `in` operator",
    ("str", "trim"): "strip",
    ("str", "toUpperCase"): "upper",
    ("str", "toLowerCase"): "lower",
    ("str", "append"): "+=",
    ("dict", "has_key"): "the `in` operator",
    ("dict", "iteritems"): "items",
    ("dict", "length"): "len(...)",
    ("dict", "add"): "d[key] = value",
    ("set", "append"): "add",
    ("set", "push"): "add",
    ("tuple", "append"): "a list",
}
"""Members that belong to another language or another type, with what Python has in their place."""


def import_line(language: str, name: str) -> str | None:
    """Return the line that makes *name* known, when the standard library of *language* has it."""
    line = _LINES.get(language, {}).get(name)
    if line is None and language == "python" and name in sys.stdlib_module_names:
        return f"import {name}"
    return line


def names_in(module: str) -> set[str]:
    """Return the names of a module of Python that programs import most."""
    return {name for name, line in _PYTHON.items() if line.startswith(f"from {module} import ")}


def is_standard_module(name: str) -> bool:
    """Tell whether Python comes with a module of this name."""
    return name.partition(".")[0] in sys.stdlib_module_names


def standard_modules() -> Iterable[str]:
    """Return the names of Python's own public modules."""
    return (name for name in sys.stdlib_module_names if not name.startswith("_"))


def builtin_names(language: str) -> set[str]:
    """Return names that a program of *language* need not define."""
    return set(dir(builtins)) if language == "python" else set(_LINES.get(language, {}))


def member_names(language: str, kind: str | None) -> set[str]:
    """Return the public members of a built-in *kind* of Python, or the common ones of another language."""
    if language != "python":
        return set(_MEMBERS.get(language, "").split())
    owner = getattr(builtins, kind, None) if kind else None
    return {name for name in dir(owner) if not name.startswith("_")} if isinstance(owner, type) else set()
