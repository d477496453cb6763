"""Python source text: normalise, compile, and say what is wrong with it in one line. Executes nothing."""

import ast
import os
from types import CodeType

BOM = "\ufeff"
TOO_DEEP = "the source is nested too deeply or is too large to parse"


class SourceError(Exception):
    """Raised when text is not a Python program. `line` is 1-based, or None where the parser does not say."""

    def __init__(self, kind: str, message: str, line: int | None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.line = line


def parse(text: str, filename: str) -> ast.Module:
    """Parse and fully compile the text; raises `SourceError`. A leading byte order mark is dropped."""
    text = text.removeprefix(BOM)
    try:
        tree = ast.parse(text, filename)
        compile(text, filename, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise SourceError(type(error).__name__, error.msg, error.lineno) from None
    except (ValueError, OverflowError) as error:  # a NUL byte, a lone surrogate, an absurd literal
        raise SourceError("SyntaxError", str(error), None) from None
    except (RecursionError, MemoryError):
        raise SourceError("SyntaxError", TOO_DEEP, None) from None
    return tree


def compile_program(text: str, filename: str) -> CodeType:
    """Compile the text for execution; raises `SourceError`."""
    text = text.removeprefix(BOM)
    try:
        return compile(text, filename, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise SourceError(type(error).__name__, error.msg, error.lineno) from error
    except (ValueError, OverflowError) as error:
        raise SourceError("SyntaxError", str(error), None) from error
    except (RecursionError, MemoryError) as error:
        raise SourceError("SyntaxError", TOO_DEEP, None) from error


def write_files(files: dict[str, str]) -> None:
    """Write the request's files below the current folder. Paths were checked by the host."""
    for name, text in files.items():
        folder = os.path.dirname(name)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(name, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
            file.write(text)
