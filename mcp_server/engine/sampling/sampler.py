"""Logits to the next token of one sequence.

In the common case one native call shapes, cuts, draws and remembers; temperature 0 without penalties is the argmax. A
grammar is asked about the one chosen token first and, only when it refuses, about all: that draws from the same
distribution, because a refused draw is followed by a draw from what is allowed. Reading order: `sampler_chain`,
`candidates`, `grammar_state`, then this. One sampler belongs to one sequence and holds native memory until `close`.

Equal seeds draw equal tokens from equal logits, whatever else is in the batch: nothing is shared between sequences but
the working array, which starts anew each time. The logits themselves may differ in their last bits with the size of the
batch, because matrices are then summed in another order; a draw that falls within that rounding of a border between two
tokens, or a tie of the two likeliest, can go either way.
"""

import ctypes
from collections.abc import Sequence as Items
from typing import Any

import numpy as np
import numpy.typing as npt

from mcp_server.engine.grammar.grammar import Grammar
from mcp_server.engine.grammar.grammar_state import GrammarState
from mcp_server.engine.native.llama import native
from mcp_server.engine.native.vocabulary import Vocabulary
from mcp_server.engine.sampling.candidates import Logits, candidates_of
from mcp_server.engine.sampling.logprobs import post_sampling_logprob, token_logprob
from mcp_server.engine.sampling.sampler_chain import close_chain, make_chain
from mcp_server.engine.types import SamplingParams, TokenLogprob

SEED_RANGE = 0xFFFFFFFF  # the largest 32-bit seed means "draw one" to llama.cpp, so it is left out
LIKELIEST_ASKED = 256  # tokens that a grammar is asked about first, when top-k wants fewer: 0.1 ms instead of 45
MAX_BEGINNINGS = 16  # tokens refused in one step because they would begin a grammar wrongly; then the sequence ends


class TokenSampler:
    """Chooses the tokens of one sequence."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        sampling: SamplingParams,
        *,
        seed: int,
        grammar: Grammar | None = None,
        prompt: Items[int] = (),
    ) -> None:
        """Build the native chain; repetition penalty and DRY look back into `prompt`.

        Raises:
            InvalidRequestError: The grammar does not parse, or a bias names no token.
        """
        self._vocabulary, self._sampling = vocabulary, sampling
        self._candidates = candidates_of(vocabulary)
        self._grammar: GrammarState | None = None
        self._chain = make_chain(vocabulary, sampling, seed=seed % SEED_RANGE, prompt=prompt)
        self._is_open = True
        self._last: npt.NDArray[Any] = np.zeros(
            0
        )  # the candidates of the latest draw, when their log-probabilities are asked for
        self._is_argmax = self._chain.is_greedy and not self._chain.has_memory
        self._biased = np.array(list(self._chain.biases), np.intp)  # (n_biases,), as the next one
        self._biases = np.array(list(self._chain.biases.values()), np.float32)
        self._reports_post = sampling.post_sampling_logprobs and sampling.n_logprobs is not None
        if grammar is not None:
            param = "json_schema" if sampling.grammar is None and sampling.json_schema is not None else "grammar"
            try:
                self._grammar = GrammarState(vocabulary, self._candidates, grammar, param=param)
            except BaseException:
                self.close()
                raise

    def sample(self, context: Any, row: int) -> int | None:
        """Choose the next token from a row of the last batch of `context`, and remember it.

        None when the grammar allows no token at all, not even an end.
        """
        token = self._first_choice(context, row)
        if self._grammar is not None:
            if not self._grammar.allows(token):
                allowed = self._second_choice(logits_of(context, row, self._vocabulary.n_tokens))
                if allowed is None:
                    return None
                token = allowed
            self._grammar.accept(token)
        if self._chain.has_memory and not self._is_single_call:
            native.llama_sampler_accept(self._chain.all, token)
        return token

    def report(self, context: Any, row: int, token: int) -> TokenLogprob | None:
        """Give the log-probabilities of the token just sampled from this row; None when none are asked for."""
        n_top = self._sampling.n_logprobs
        if n_top is None:
            return None
        logits = logits_of(context, row, self._vocabulary.n_tokens)
        if self._reports_post:
            return post_sampling_logprob(self._vocabulary, self._last, token, n_top)
        return token_logprob(self._vocabulary, logits, token, n_top)

    def close(self) -> None:
        """Free the native chain and grammar; idempotent."""
        if self._is_open:
            close_chain(self._chain)
        if self._grammar is not None:
            self._grammar.close()
        self._is_open, self._grammar = False, None

    @property
    def _is_single_call(self) -> bool:
        """Tell whether one native call does all; it remembers the token at once, which a grammar may still refuse."""
        return not self._reports_post and not (self._grammar is not None and self._chain.has_memory)

    def _first_choice(self, context: Any, row: int) -> int:
        """Choose among all tokens."""
        if self._is_argmax and not self._reports_post:
            return self._likeliest(logits_of(context, row, self._vocabulary.n_tokens))
        if self._is_single_call:
            return int(native.llama_sampler_sample(self._chain.all, context, row))
        self._candidates.fill(logits_of(context, row, self._vocabulary.n_tokens))
        self._candidates.apply(self._chain.all)
        return self._chosen()

    def _likeliest(self, logits: Logits) -> int:
        """Take the argmax with the biases, and leave the logits as they were."""
        if not len(self._biased):
            return int(np.argmax(logits))
        own = logits[self._biased]
        logits[self._biased] += self._biases
        token = int(np.argmax(logits))
        logits[self._biased] = own
        return token

    def _second_choice(self, logits: Logits) -> int | None:
        """Choose among the tokens that the grammar allows."""
        if self._grammar is None or self._grammar.is_waiting:
            return self._choose_beginning(logits)
        self._grammar.fill(logits)
        if self._chain.shaping is not None:
            self._candidates.apply(self._chain.shaping)
        self._cut_by_grammar(self._grammar)
        if not len(self._candidates):
            return None
        self._candidates.apply(self._chain.choosing)
        return self._chosen()

    def _cut_by_grammar(self, grammar: GrammarState) -> None:
        """Drop what the grammar refuses; of what top-k would drop anyway, only if too few are left without it."""
        n_wanted = self._n_wanted
        if not 0 < n_wanted <= LIKELIEST_ASKED or len(self._candidates) <= LIKELIEST_ASKED:
            grammar.cut()
            return
        everything = self._candidates.keep_likeliest(LIKELIEST_ASKED)
        grammar.cut()
        if len(self._candidates) < n_wanted:
            self._candidates.restore(everything)
            grammar.cut()

    @property
    def _n_wanted(self) -> int:
        """Count the likeliest tokens that decide the choice; 0: all."""
        sampling = self._sampling
        if self._chain.is_greedy:
            return 1
        if sampling.mirostat or sampling.top_n_sigma is not None:
            return 0
        return max(sampling.top_k, sampling.min_keep) if sampling.top_k else 0

    def _choose_beginning(self, logits: Logits) -> int | None:
        """Choose another token while a grammar waits, because the first choice would begin it wrongly."""
        refused: set[int] = set()
        for _ in range(MAX_BEGINNINGS):
            self._candidates.fill(logits)
            self._candidates.ban(refused)
            self._candidates.keep_possible()
            self._candidates.apply(self._chain.all)
            token = self._chosen()
            if self._grammar is None or self._grammar.allows(token):
                return token
            refused.add(token)
        return None

    def _chosen(self) -> int:
        if self._reports_post:
            self._last = self._candidates.live.copy()
            if self._chain.is_greedy:
                self._last = self._last[[self._candidates.selected_row]]
                self._last["p"] = 1
        return self._candidates.selected


def logits_of(context: Any, row: int, n_tokens: int) -> Logits:
    """View a row of logits of the last batch, `(n_tokens,)`; valid until the next one."""
    address = ctypes.addressof(native.llama_get_logits_ith(context, row).contents)
    row_of_floats: Any = (ctypes.c_float * n_tokens).from_address(address)
    logits: Logits = np.frombuffer(row_of_floats, np.float32)
    return logits
