"""Text to token ids and back, for one loaded model.

Special tokens (`<|im_start|>` and the like) are parsed in what goes in. What comes out of a token is bytes, because a
token may be part of a character; `chat.detokenizer` makes text of them. Valid as long as the model is loaded.
"""

import ctypes
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from mcp_server.engine.native.llama import native
from mcp_server.errors import EngineError, InvalidRequestError

PIECE_BYTES = 256  # first guess at the longest token; longer ones cost a second call
SPECIAL_MARGIN = 8  # tokens added around a text (BOS, EOS, a leading space), at most


def count_bytes(text: str) -> int:
    """Count the bytes of a text as the tokenizer gets it."""
    return len(text.encode("utf-8", "replace"))


class Vocabulary:
    """The tokens of one model."""

    def __init__(self, model: Any) -> None:
        self._vocab = native.llama_model_get_vocab(model)
        self.n_tokens = int(native.llama_vocab_n_tokens(self._vocab))
        # Walks over all tokens: 0.1-0.2 s for 150,000 of them, once a load.
        self.pieces = [self._read_piece(i, with_special=True) for i in range(self.n_tokens)]  # bytes of each token
        self.bos_text = self._text_of(native.llama_vocab_bos(self._vocab))
        self.eos_text = self._text_of(native.llama_vocab_eos(self._vocab))
        self._adds_bos = bool(native.llama_vocab_get_add_bos(self._vocab))
        self.longest_token_bytes = max(map(len, self.pieces))
        self._shown: dict[int, bytes] = {}  # of tokens generated so far, as they are shown

    @property
    def handle(self) -> Any:
        """The native vocabulary, for samplers that need it."""
        return self._vocab

    def encode(self, text: str, *, is_prompt: bool = True, parse_special: bool = True) -> list[int]:
        """Tokenize; a prompt begins with BOS where the model wants one, exactly once.

        With `parse_special`, `<|im_start|>` in the text is the token; without, its letters.
        """
        data = text.encode("utf-8", "replace")
        add_special = is_prompt and self._adds_bos and not (self.bos_text and text.startswith(self.bos_text))
        size = len(data) + SPECIAL_MARGIN
        buffer = (native.llama_token * size)()
        n = native.llama_tokenize(self._vocab, data, len(data), buffer, size, add_special, parse_special)
        if n < 0:
            msg = f"A text of {len(data)} bytes became more than {size} tokens; the model's tokenizer is at fault."
            raise EngineError(msg)
        return list(buffer[:n])

    @property
    def pair_marks(self) -> tuple[list[int], list[int], list[int]]:
        """The special tokens before, between and after a query and a document that a model judges."""
        vocab, eos = self._vocab, int(native.llama_vocab_eos(self._vocab))
        sep = int(native.llama_vocab_sep(vocab))
        begin = [int(native.llama_vocab_bos(vocab))] if self._adds_bos else []
        end = [eos if eos >= 0 else sep] if native.llama_vocab_get_add_eos(vocab) else []
        return begin, [*end, *([sep] if native.llama_vocab_get_add_sep(vocab) else [])], end

    def exceeds(self, text: str, n_tokens: int) -> bool:
        """Tell, without tokenising, whether a text is longer than `n_tokens` of the longest token could be.

        Tokenising takes 0.5 s a megabyte, in the thread that all streams wait for. False promises nothing.
        """
        return count_bytes(text) > n_tokens * self.longest_token_bytes

    def piece(self, token: int, *, with_special: bool = False) -> bytes:
        """Give the bytes of one token; control tokens are empty unless `with_special`."""
        if with_special:
            return self.pieces[token]
        piece = self._shown.get(token)
        if piece is None:
            piece = self._shown[token] = self._read_piece(token, with_special=False)
        return piece

    def check(self, token_ids: Iterable[int], param: str) -> None:
        """Refuse ids that are none.

        Raises:
            InvalidRequestError: An id is not one of this model's; the error names `param`.
        """
        for token in token_ids:
            if not 0 <= token < self.n_tokens:
                msg = f"{token} is no token of this model; its ids are 0 to {self.n_tokens - 1}."
                raise InvalidRequestError(msg, param=param)

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """All tokens that end a generation, in order; walks over the vocabulary at the first call."""
        return tuple(i for i in range(self.n_tokens) if native.llama_vocab_is_eog(self._vocab, i))

    def is_end(self, token: int) -> bool:
        """Tell whether this token ends a generation."""
        return token in self._ends

    @cached_property
    def _ends(self) -> frozenset[int]:
        return frozenset(self.end_tokens)

    @cached_property
    def hidden_tokens(self) -> tuple[int, ...]:
        """All tokens that are spelt only on demand, and are no text of a completion; walks over the vocabulary too."""
        return tuple(token for token, piece in enumerate(self.pieces) if piece and not self.piece(token))

    def _read_piece(self, token: int, *, with_special: bool) -> bytes:
        size = PIECE_BYTES
        buffer = ctypes.create_string_buffer(size)
        n = native.llama_token_to_piece(self._vocab, token, buffer, size, 0, with_special)
        if n < 0:
            buffer = ctypes.create_string_buffer(-n)
            n = native.llama_token_to_piece(self._vocab, token, buffer, -n, 0, with_special)
        return buffer.raw[:n]

    def _text_of(self, token: int) -> str:
        return "" if token < 0 else self._read_piece(token, with_special=True).decode("utf-8", "replace")
