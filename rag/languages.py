"""Which language a path is written in.

Plain data and two look-ups; knows nothing of grammars or of file contents. `chunking` asks it for every document, and
retrieval's language filter accepts the aliases.
"""

from pathlib import PurePosixPath
from typing import Final

PLAIN_TEXT: Final = "text"

# Language -> the suffixes of its files, lower case.
SUFFIXES: Final[dict[str, tuple[str, ...]]] = {
    "python": (".py", ".pyi", ".pyw", ".ipynb"),
    "javascript": (".js", ".mjs", ".cjs", ".jsx"),
    "typescript": (".ts", ".mts", ".cts", ".tsx"),
    "go": (".go",),
    "rust": (".rs",),
    "c": (".c", ".h"),
    "cpp": (".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx", ".c++", ".h++", ".ipp", ".cu", ".cuh"),
    "bash": (".sh", ".bash", ".zsh", ".ksh", ".bats"),
    "java": (".java",),
    "markdown": (".md", ".markdown", ".mdx", ".mkd"),
    "rst": (".rst",),
    "csharp": (".cs",),
    "ruby": (".rb", ".rake"),
    "php": (".php",),
    "kotlin": (".kt", ".kts"),
    "swift": (".swift",),
    "scala": (".scala", ".sc"),
    "lua": (".lua",),
    "perl": (".pl", ".pm"),
    "r": (".r",),
    "haskell": (".hs",),
    "elixir": (".ex", ".exs"),
    "erlang": (".erl", ".hrl"),
    "ocaml": (".ml", ".mli"),
    "clojure": (".clj", ".cljs", ".cljc"),
    "dart": (".dart",),
    "zig": (".zig",),
    "julia": (".jl",),
    "sql": (".sql",),
    "html": (".html", ".htm"),
    "css": (".css", ".scss", ".sass", ".less"),
    "vue": (".vue",),
    "svelte": (".svelte",),
    "json": (".json", ".jsonc", ".json5"),
    "yaml": (".yaml", ".yml"),
    "toml": (".toml",),
    "xml": (".xml", ".xsd", ".xsl"),
    "ini": (".ini", ".cfg", ".conf", ".properties"),
    "protobuf": (".proto",),
    "graphql": (".graphql", ".gql"),
    "terraform": (".tf", ".hcl"),
    "cmake": (".cmake",),
    "nix": (".nix",),
    "makefile": (".mk",),
}

# Whole file names, lower case, for files whose suffix says nothing.
FILE_NAMES: Final[dict[str, str]] = {
    "makefile": "makefile",
    "gnumakefile": "makefile",
    "dockerfile": "dockerfile",
    "containerfile": "dockerfile",
    "cmakelists.txt": "cmake",
    "rakefile": "ruby",
    "gemfile": "ruby",
    ".bashrc": "bash",
    ".profile": "bash",
    ".zshrc": "bash",
}

# What people also call a language, for the filter.
ALIASES: Final[dict[str, str]] = {
    "py": "python",
    "js": "javascript",
    "jsx": "javascript",
    "ts": "typescript",
    "tsx": "typescript",
    "golang": "go",
    "rs": "rust",
    "c++": "cpp",
    "sh": "bash",
    "shell": "bash",
    "md": "markdown",
    "c#": "csharp",
    "rb": "ruby",
    "yml": "yaml",
}

# Every name that `language_of` gives.
LANGUAGES: Final = frozenset({*SUFFIXES, *FILE_NAMES.values(), PLAIN_TEXT})

_LANGUAGE_OF_SUFFIX: Final = {suffix: language for language, suffixes in SUFFIXES.items() for suffix in suffixes}


def language_of(path: str) -> str:
    """Name the language of the file at `path`; `text` when neither name nor suffix tells."""
    name = PurePosixPath(path).name.lower()
    if name in FILE_NAMES:
        return FILE_NAMES[name]
    return _LANGUAGE_OF_SUFFIX.get(PurePosixPath(name).suffix, PLAIN_TEXT)


def canonical_language(name: str) -> str:
    """Return our name of a language that a caller named, whatever its case or alias."""
    lowered = name.strip().lower()
    return ALIASES.get(lowered, lowered)
