"""The tokens that may come next, in the array that native samplers reorder and cut; and facts of a vocabulary's tokens.

One array serves all sequences of a model, one after the other, because it has 12 bytes for each token of the
vocabulary. Knows nothing of requests; `sampler` and `grammar_state` work on it.
"""

import codecs
import ctypes
from collections.abc import Iterable
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary, proxy

import numpy as np
import numpy.typing as npt

from mcp_server.engine.native.llama import native
from mcp_server.engine.native.vocabulary import Vocabulary

Logits = npt.NDArray[np.float32]  # (n_vocab,)
Ids = npt.NDArray[np.int32]  # (n,) token ids

N_BYTES = 256  # values of a byte
PAIR = 2  # bytes
CONTINUATION = range(0x80, 0xC0)  # bytes that go on with a character of UTF-8

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Candidates:
    """The working array of one vocabulary, with the facts of its tokens."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        n_vocab = vocabulary.n_tokens
        self.tokens = TokenTable(vocabulary)
        self._rows = np.zeros(n_vocab, _CANDIDATE)  # (n_vocab,)
        self._ids = np.arange(n_vocab, dtype=np.int32)  # (n_vocab,)
        self._array: Any = native.llama_token_data_array()
        self._reference = ctypes.byref(self._array)

    def __len__(self) -> int:
        return int(self._array.size)

    def fill(self, logits: Logits) -> None:
        """Start again from all tokens."""
        self._rows["id"] = self._ids
        self._rows["logit"] = logits
        self._point(len(self._rows))

    def fill_some(self, ids: Ids, logits: Logits) -> None:
        """Start again from some tokens, none of them twice."""
        n = len(ids)
        self._rows["id"][:n] = ids
        self._rows["logit"][:n] = logits[ids]
        self._point(n)

    def fill_equal(self, ids: Ids) -> None:
        """Start again from some tokens, all as likely."""
        self._rows["id"][: len(ids)] = ids
        self._rows["logit"][: len(ids)] = 0
        self._point(len(ids))

    def fill_one(self, token: int) -> None:
        """Start with a single token, to ask a grammar about it."""
        self._rows[0] = (token, 0.0, 0.0)
        self._point(1)

    def apply(self, sampler: Any) -> None:
        """Let one native sampler work on the candidates."""
        native.llama_sampler_apply(sampler, self._reference)

    def keep_possible(self) -> None:
        """Drop the tokens whose logit says that they cannot come."""
        rows = self.live
        self._replace(rows[np.isfinite(rows["logit"])])

    def keep_likeliest(self, n: int) -> npt.NDArray[Any]:
        """Leave the `n` of the highest logits, in no order; give a copy of all, for `restore`."""
        everything = self.live.copy()
        best = np.argpartition(everything["logit"], len(everything) - n)[-n:]
        self._replace(everything[best])
        return everything

    def restore(self, everything: npt.NDArray[Any]) -> None:
        """Put back what `keep_likeliest` dropped."""
        self._replace(everything)

    def ban(self, tokens: Iterable[int]) -> None:
        """Make tokens impossible."""
        rows = self.live
        rows["logit"][np.isin(rows["id"], tuple(tokens))] = -np.inf

    @property
    def live(self) -> npt.NDArray[Any]:
        """The rows that are left, as `id`, `logit` and `p`; a view, valid until the next change."""
        # XTC cuts by moving the pointer on.
        address = ctypes.addressof(self._array.data.contents) if self._array.size else self._rows.ctypes.data
        start = (address - self._rows.ctypes.data) // _CANDIDATE.itemsize
        return self._rows[start : start + self._array.size]

    @property
    def has_any(self) -> bool:
        """Tell whether a token is left that is possible at all."""
        return bool(np.isfinite(self.live["logit"]).any())

    @property
    def selected(self) -> int:
        """The token that the last sampler chose."""
        return int(self._array.data[self._array.selected].id)

    @property
    def selected_row(self) -> int:
        """Where it stands among `live`."""
        return int(self._array.selected)

    def _replace(self, rows: npt.NDArray[Any]) -> None:
        self._rows[: len(rows)] = rows
        self._point(len(rows))

    def _point(self, size: int) -> None:
        self._array.data = self._rows.ctypes.data_as(native.llama_token_data_p)
        self._array.size, self._array.selected, self._array.sorted = size, -1, False


class TokenTable:
    """What a grammar asks of all tokens at once; made at the first question (0.1 s for 150,000 tokens)."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._pieces = vocabulary.pieces
        self._vocabulary = proxy(vocabulary)  # asked once; whoever asks holds the vocabulary
        self.ends: Ids = np.array(vocabulary.end_tokens, np.int32)  # tokens that end a generation

    @cached_property
    def first_bytes(self) -> npt.NDArray[np.uint8]:
        """The first byte of each token, 0 for an empty one: `(n_vocab,)`."""
        return np.array([piece[0] if piece else 0 for piece in self._pieces], np.uint8)

    @cached_property
    def is_hidden(self) -> npt.NDArray[np.bool_]:
        """Which tokens are no text of a completion, ends left out: `(n_vocab,)`."""
        is_hidden = np.zeros(len(self._pieces), np.bool_)
        is_hidden[list(self._vocabulary.hidden_tokens)] = True
        is_hidden[self.ends] = False
        return is_hidden

    @cached_property
    def is_startable(self) -> npt.NDArray[np.bool_]:
        """Which tokens begin with a character and are good UTF-8, but for an unfinished end: `(n_vocab,)`."""
        is_good = np.array([utf8_tail(piece) is not None and bool(piece) for piece in self._pieces], np.bool_)
        is_good[self.ends] = False
        return is_good

    @cached_property
    def single_bytes(self) -> Ids:
        """One token for each byte that is a token of its own, ends left out."""
        ends = set(self.ends.tolist())
        found = {piece: token for token, piece in enumerate(self._pieces) if len(piece) == 1 and token not in ends}
        return np.array(list(found.values()), np.int32)

    @cached_property
    def first_pairs(self) -> npt.NDArray[np.uint16]:
        """The first two bytes of each token as a number, 0 for a shorter one: `(n_vocab,)`."""
        pairs = (int.from_bytes(piece[:2], "big") if len(piece) > 1 else 0 for piece in self._pieces)
        return np.fromiter(pairs, np.uint16, len(self._pieces))

    @cached_property
    def pairs(self) -> Ids:
        """Tokens of just two bytes that begin with a character."""
        is_pair = np.array([len(piece) == PAIR for piece in self._pieces], np.bool_)
        return np.flatnonzero(is_pair & self.is_startable & (self.first_pairs > 0)).astype(np.int32)

    def continuing(self, pending: bytes) -> Ids:
        """Tokens that go on with an unfinished character."""
        going_on = np.flatnonzero((self.first_bytes >= CONTINUATION[0]) & (self.first_bytes <= CONTINUATION[-1]))
        good = [token for token in going_on.tolist() if utf8_tail(pending + self._pieces[token]) is not None]
        return np.array(good, np.int32)


def utf8_tail(data: bytes) -> bytes | None:
    """Give the unfinished character at the end, b"" when there is none; None when the bytes are no UTF-8."""
    try:
        _, n_used = codecs.utf_8_decode(data, "strict", False)  # noqa: FBT003  # positional-only: not final
    except UnicodeDecodeError:
        return None
    return data[n_used:]


_shared: WeakKeyDictionary[Vocabulary, Candidates] = WeakKeyDictionary()


def candidates_of(vocabulary: Vocabulary) -> Candidates:
    """Give the one working array of a vocabulary; for the thread that owns the model."""
    if vocabulary not in _shared:
        _shared[vocabulary] = Candidates(vocabulary)
    return _shared[vocabulary]
