"""How far one sequence has come in its grammar, and which tokens the grammar allows next.

The native grammar aborts the process when it is given a token that does not fit, so nothing is given to it that was
not asked about first. Two things are added to it. It takes bytes that are no UTF-8 for characters; here a token must
keep the text good UTF-8. And it asks about each token of the vocabulary by walking its rules, 45 ms for 150,000; here
it is first asked about single bytes, then about pairs, and tokens that begin with a refused one are not asked about.

A grammar with triggers waits, and everything is allowed, until a trigger matches the text; the grammar then begins at
the start of the trigger's first group, or of its match where it has none. A token that would complete a trigger with
text that the grammar forbids is refused.
"""

import re
import time
from typing import Any

import numpy as np

from mcp_server.engine.grammar.grammar import Grammar, mentions_tokens
from mcp_server.engine.native import llama
from mcp_server.engine.native.llama import native
from mcp_server.engine.native.vocabulary import Vocabulary
from mcp_server.engine.sampling.candidates import N_BYTES, Candidates, Ids, Logits, utf8_tail
from mcp_server.errors import InvalidRequestError

TRIGGER_CHARS = 4096  # of the text's end that are searched for a trigger
ROOT = b"root"
MAX_ACCEPT_S = 0.1  # of computing for one token, some 10 microseconds else; a recursion may take 4 times it next time


class GrammarState:
    """A grammar and the text so far, of one sequence; holds native memory until `close`."""

    def __init__(self, vocabulary: Vocabulary, candidates: Candidates, grammar: Grammar, *, param: str) -> None:
        """Parse the grammar, which came from the request's field `param`.

        Raises:
            InvalidRequestError: It does not parse.
        """
        self._vocabulary = vocabulary
        self._candidates = candidates
        self._triggers = tuple(map(re.compile, grammar.triggers))
        self._is_waiting = bool(grammar.triggers)
        self._allows_hidden = grammar.allows_hidden or mentions_tokens(grammar.text)
        self._asks_bytes = not mentions_tokens(grammar.text)
        self._native = _parse(vocabulary, grammar.text, param)
        self._param = param
        self._begun: tuple[int, Any, bytes] | None = None  # the token that would begin the grammar, and what comes then
        self._text = b""  # while waiting
        self._pending = b""  # the unfinished character at the end

    @property
    def is_waiting(self) -> bool:
        """Tell whether no trigger has matched yet."""
        return self._is_waiting

    def allows(self, token: int) -> bool:
        """Tell whether a token may come next; overwrites the candidates."""
        if self._is_waiting:
            return self._allows_beginning(token)
        return self._fits(self._native, self._pending, token) is not None

    def accept(self, token: int) -> None:
        """Go on by a token that `allows` has allowed.

        Raises:
            InvalidRequestError: The grammar holds so many ways open that following them stalls everybody.
        """
        piece = self._vocabulary.pieces[token]
        if self._is_waiting:
            self._text += piece
            if self._begun is not None and self._begun[0] == token:
                native.llama_sampler_free(self._native)
                _, self._native, self._pending = self._begun
                self._begun, self._is_waiting = None, False
            return
        began_s = time.thread_time()
        native.llama_sampler_accept(self._native, token)
        if time.thread_time() - began_s > MAX_ACCEPT_S:
            msg = (
                "The grammar holds ever more ways open, too many to follow; let its alternatives differ in their first "
                "letters, above all where a rule uses itself."
            )
            raise InvalidRequestError(msg, param=self._param)
        if not self._vocabulary.is_end(token):
            self._pending = utf8_tail(self._pending + piece) or b""

    def fill(self, logits: Logits) -> None:
        """Make the tokens that may come next candidates, and perhaps others, which `cut` drops."""
        if self._is_waiting:
            self._candidates.fill(logits)
        else:
            self._candidates.fill_some(self._possible(), logits)

    def cut(self) -> None:
        """Drop the candidates that may not come next."""
        if not self._is_waiting:
            self._candidates.apply(self._native)
        self._candidates.keep_possible()

    def close(self) -> None:
        """Free the native grammar; idempotent."""
        self._drop_begun()
        if self._native is not None:
            native.llama_sampler_free(self._native)
        self._native = None

    def _possible(self) -> Ids:
        """Give the ids worth asking about."""
        tokens = self._candidates.tokens
        if self._pending:
            return tokens.continuing(self._pending)
        if not self._asks_bytes:
            return np.arange(self._vocabulary.n_tokens, dtype=np.int32)
        is_bad_byte = np.zeros(N_BYTES, np.bool_)
        is_bad_byte[tokens.first_bytes[self._refused(tokens.single_bytes)]] = True
        pairs = tokens.pairs[~is_bad_byte[tokens.first_bytes[tokens.pairs]]]
        is_bad_pair = np.zeros(N_BYTES * N_BYTES, np.bool_)
        is_bad_pair[tokens.first_pairs[self._refused(pairs)]] = True
        is_good = tokens.is_startable & ~is_bad_byte[tokens.first_bytes] & ~is_bad_pair[tokens.first_pairs]
        if not self._allows_hidden:
            is_good &= ~tokens.is_hidden
        good = np.flatnonzero(is_good)
        return np.concatenate([good, tokens.ends]).astype(np.int32)

    def _refused(self, ids: Ids) -> Ids:
        """Give those that the grammar refuses; overwrites the candidates."""
        self._candidates.fill_equal(ids)
        self._candidates.apply(self._native)
        rows = self._candidates.live
        refused: Ids = rows["id"][~np.isfinite(rows["logit"])]
        return refused

    def _fits(self, grammar: Any, pending: bytes, token: int) -> bytes | None:
        """Give the unfinished character after a token, or None where the token may not come."""
        if token >= self._vocabulary.n_tokens:
            return None
        is_end = self._vocabulary.is_end(token)
        tail = pending if is_end else utf8_tail(pending + self._vocabulary.pieces[token])
        if tail is None or (is_end and pending):
            return None
        if self._candidates.tokens.is_hidden[token] and not self._allows_hidden:
            return None
        self._candidates.fill_one(token)
        self._candidates.apply(grammar)
        return tail if self._candidates.has_any else None

    def _allows_beginning(self, token: int) -> bool:
        self._drop_begun()
        data = self._text + self._vocabulary.pieces[token]
        start = self._find_trigger(data)
        if start is None:
            return True
        grammar = native.llama_sampler_clone(self._native)
        pending: bytes | None = b""
        for part in self._tokens_from(data, start, token):
            pending = None if pending is None else self._fits(grammar, pending, part)
            if pending is None:
                native.llama_sampler_free(grammar)
                return False
            native.llama_sampler_accept(grammar, part)
        self._begun = (token, grammar, pending or b"")
        return True

    def _find_trigger(self, data: bytes) -> int | None:
        """Give the byte at which a grammar begins."""
        text = data.decode("utf-8", "surrogateescape")
        for trigger in self._triggers:
            if match := trigger.search(text, max(0, len(text) - TRIGGER_CHARS)):
                groups = range(1, trigger.groups + 1)
                at = next((match.start(group) for group in groups if match.group(group)), match.start())
                return len(text[:at].encode("utf-8", "surrogateescape"))
        return None

    def _tokens_from(self, data: bytes, start: int, last: int) -> list[int]:
        """Give the text from `start` on as tokens: the last one if it is just that, or else one for each byte."""
        rest = data[start:]
        if rest == self._vocabulary.pieces[last]:
            return [last]
        by_piece = {self._vocabulary.pieces[token]: int(token) for token in self._candidates.tokens.single_bytes}
        return [by_piece.get(bytes([byte]), self._vocabulary.n_tokens) for byte in rest]

    def _drop_begun(self) -> None:
        if self._begun is not None:
            native.llama_sampler_free(self._begun[1])
        self._begun = None


def _parse(vocabulary: Vocabulary, text: str, param: str) -> Any:
    llama.forget_log()
    with llama.silenced():
        sampler = native.llama_sampler_init_grammar(vocabulary.handle, text.encode("utf-8", "replace"), ROOT)
    if not sampler:
        msg = f"The grammar cannot be used: {llama.last_errors() or 'it does not parse'}. Correct its GBNF rules."
        raise InvalidRequestError(msg, param=param)
    return sampler
