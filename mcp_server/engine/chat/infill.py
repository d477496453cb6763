"""A gap in a file to the prompt of a model that was trained to fill gaps (fill-in-the-middle, FIM).

Which tokens mark prefix, suffix and middle is read from the vocabulary. With tokens for repositories and files the
repository pattern of Qwen2.5-Coder (arXiv 2409.12186) is used, as llama.cpp's server does; without, other files come
first as they are. What does not fit is dropped far from the gap: the prefix from its beginning, the suffix from its
end, other files from the first one on. Texts are tokenized as plain text: nothing in them is a special token.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mcp_server.engine.types import Infill
from mcp_server.errors import ContextLengthError, NotSupportedError

Encode = Callable[[str], list[int]]

PREFIX_SHARE = 0.75  # of the room for prefix and suffix, where both want more than there is
COMPLETION_SHARE = 0.25  # of the context kept free for the filling, when the request sets no limit
LEAST_ROOM_TOKENS = 16  # for prefix and suffix together; less is no place to fill a gap in
REPOSITORY_NAME = "repository"
FILE_NAME = "file"


@dataclass(frozen=True)
class FimTokens:
    """The tokens for infill of one vocabulary; None: it has none."""

    prefix: int | None = None
    suffix: int | None = None
    middle: int | None = None
    repository: int | None = None
    file: int | None = None
    bos: int | None = None  # where prompts begin with one

    @property
    def can_infill(self) -> bool:
        """Tell whether the three that are needed are there."""
        return None not in (self.prefix, self.suffix, self.middle)


def infill_tokens(infill: Infill, fim: FimTokens, encode: Encode, room: int) -> list[int]:
    """Give the prompt for a gap, at most `room` tokens of it.

    Raises:
        NotSupportedError: The model has no tokens for it.
        ContextLengthError: Not even a trimmed prompt fits.
    """
    if fim.prefix is None or fim.suffix is None or fim.middle is None:
        named = {"prefix": fim.prefix, "suffix": fim.suffix, "middle": fim.middle}
        missing = ", ".join(name for name, token in named.items() if token is None)
        msg = f"This model cannot fill gaps: its vocabulary has no token for the {missing}. Choose a code model."
        raise NotSupportedError(msg, param="infill")
    middle = encode(infill.middle)
    header = [] if fim.file is None else [fim.file, *encode(f"{FILE_NAME}\n")]
    bos = [] if fim.bos is None else [fim.bos]
    left = room - len(bos) - len(header) - len(middle) - 3
    if left < LEAST_ROOM_TOKENS:
        msg = f"The filling begins with {len(middle)} tokens, which leaves no room in {room} tokens. Shorten `middle`."
        raise ContextLengthError(msg, param="infill")
    prefix, suffix = _trimmed(encode(infill.prefix), encode(infill.suffix), left)
    files = _files(infill, fim, encode)
    n_files = left - len(prefix) - len(suffix)
    files = files[max(0, len(files) - n_files) :] if n_files else []
    return [*bos, *files, *header, fim.prefix, *prefix, fim.suffix, *suffix, fim.middle, *middle]


def infill_room(context_tokens: int, max_tokens: int | None) -> int:
    """Count the tokens that a prompt for a gap may have, with the filling left room for."""
    wanted = max_tokens if max_tokens is not None else int(context_tokens * COMPLETION_SHARE)
    return context_tokens - max(1, min(wanted, context_tokens // 2))


def _trimmed(prefix: list[int], suffix: list[int], room: int) -> tuple[list[int], list[int]]:
    """Keep what is next to the gap; what one of them does not need, the other may have."""
    n_suffix = min(len(suffix), max(room - len(prefix), room - int(room * PREFIX_SHARE)))
    n_prefix = min(len(prefix), room - n_suffix)
    return prefix[len(prefix) - n_prefix :], suffix[:n_suffix]


def _files(infill: Infill, fim: FimTokens, encode: Encode) -> list[int]:
    tokens: list[int] = []
    if infill.extra and fim.repository is not None:
        tokens += [fim.repository, *encode(f"{REPOSITORY_NAME}\n")]
    for file in infill.extra:
        if fim.file is None:
            tokens += encode(f"{file.text}\n")
        else:
            tokens += [fim.file, *encode(f"{file.filename}\n{file.text}\n")]
    return tokens
