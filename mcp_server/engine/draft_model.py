"""A small model that guesses for a large one of the same vocabulary: it mirrors its slots in a context of its own.

Guesses are greedy and stop where the draft model itself is unsure. Knows nothing of queues or text.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mcp_server.engine.drafting import DraftRequest
from mcp_server.engine.models.gguf_file import read_header
from mcp_server.engine.native.context import Batch, ContextSize, load_model, make_context
from mcp_server.engine.native.llama import native
from mcp_server.engine.native.vocabulary import Vocabulary
from mcp_server.engine.settings import EngineSettings
from mcp_server.errors import EngineError, ModelLoadError

CHECKED_PIECES = 512  # tokens whose bytes are compared to tell whether two vocabularies are one


@dataclass
class _Mirror:
    """What the draft model has computed of one slot."""

    tokens: list[int] = field(default_factory=list)
    n_sure: int = 0  # of them, known to be the sequence's own


@dataclass(frozen=True)
class _Part:
    """Consecutive tokens of one slot, as a `Batch` takes them; the last one gets logits."""

    slot: int
    start: int
    tokens: list[int]
    n_outputs: int


class DraftModel:
    """A small model that mirrors the slots of a large one."""

    def __init__(self, path: Path, vocabulary: Vocabulary, context_tokens: int, settings: EngineSettings) -> None:
        """Load it.

        Args:
            path: of its GGUF file.
            vocabulary: of the model that it guesses for.
            context_tokens: of one sequence of that model; what lies beyond the draft's own context gets no guesses.
            settings: of that model; slots and threads are as there.

        Raises:
            ModelLoadError: It cannot be loaded, or its vocabulary is another one.
        """
        self._mirrors = [_Mirror() for _ in range(settings.n_slots)]
        self._n_batch = settings.n_slots + settings.prefill_chunk_tokens
        self._min_probability = settings.draft_min_probability
        self._context: Any = None
        self._model: Any = load_model(path, read_header(path), settings)
        try:
            self._vocabulary = Vocabulary(self._model)
            _check_same(self._vocabulary, vocabulary, path)
            self.context_tokens = min(context_tokens, int(native.llama_model_n_ctx_train(self._model)))
            n_cells = settings.n_slots * self.context_tokens
            size = ContextSize(n_cells, self._n_batch, settings.n_slots, is_unified=False)
            self._context = make_context(self._model, size, settings)
        except BaseException:
            self.close()
            raise
        self._memory = native.llama_get_memory(self._context)
        self._batch = Batch(self._n_batch)

    def propose(self, requests: Items[DraftRequest]) -> list[list[int]]:
        """Guess greedily for all sequences at once; one whose prompt is not read yet gets no guess this time."""
        guesses: dict[int, list[int]] = {request.slot: [] for request in requests}
        parts = self._read([request for request in requests if len(request.tokens) < self.context_tokens])
        wanted = {request.slot: min(request.n_max, self.context_tokens - len(request.tokens)) for request in requests}
        while parts:
            following = []
            for part, token in zip((part for part in parts if part.n_outputs), self._run(parts), strict=True):
                if token is None or not wanted[part.slot]:
                    continue
                guesses[part.slot].append(token)
                if len(guesses[part.slot]) < wanted[part.slot]:
                    following.append(_Part(part.slot, part.start + len(part.tokens), [token], 1))
            parts = following
        return [guesses[request.slot] for request in requests]

    def release(self, slot: int) -> None:
        """Forget a slot."""
        if self._mirrors[slot].tokens:
            native.llama_memory_seq_rm(self._memory, slot, -1, -1)
        self._mirrors[slot] = _Mirror()

    def close(self) -> None:
        """Free the model; idempotent."""
        if self._context is not None:
            native.llama_free(self._context)
        if self._model is not None:
            native.llama_model_free(self._model)
        self._context = self._model = None

    def _read(self, requests: Items[DraftRequest]) -> list[_Part]:
        """Cut what was guessed wrong, and give what is to be read: of a long prompt a part each time."""
        budget, parts = self._n_batch, []
        for request in requests:
            start = self._keep(request)
            tokens = request.tokens[start : start + budget]
            budget -= len(tokens)
            if tokens:
                is_caught_up = start + len(tokens) == len(request.tokens)
                parts.append(_Part(request.slot, start, tokens, int(is_caught_up)))
        return parts

    def _keep(self, request: DraftRequest) -> int:
        """Drop the computed tokens that are not the sequence's; count those that stay, all but its last at most."""
        mirror, tokens = self._mirrors[request.slot], request.tokens
        n_kept, limit = min(mirror.n_sure, len(tokens) - 1), min(len(mirror.tokens), len(tokens) - 1)
        while n_kept < limit and mirror.tokens[n_kept] == tokens[n_kept]:
            n_kept += 1
        if n_kept < len(mirror.tokens):
            native.llama_memory_seq_rm(self._memory, request.slot, n_kept, -1)
            del mirror.tokens[n_kept:]
        mirror.n_sure = n_kept
        return n_kept

    def _run(self, parts: Iterable[_Part]) -> list[int | None]:
        """Compute a batch; give the likeliest next token of each part that wants one, None where none is likely."""
        parts = list(parts)
        self._batch.fill(parts)
        status = native.llama_decode(self._context, self._batch.native)
        if status != 0:
            msg = f"the draft model failed with {status}; run without one by unsetting CINQUE_ENGINE_DRAFT_MODEL"
            raise EngineError(msg)
        likeliest: list[int | None] = []
        row = -1
        for part in parts:
            self._mirrors[part.slot].tokens += part.tokens
            row += len(part.tokens)
            if part.n_outputs:
                likeliest.append(self._likeliest(row))
        return likeliest

    def _likeliest(self, row: int) -> int | None:
        shape = (self._vocabulary.n_tokens,)
        logits = np.ctypeslib.as_array(native.llama_get_logits_ith(self._context, row), shape)
        best = int(logits.argmax())
        probability = 1.0 / float(np.exp(logits - logits[best]).sum())
        is_usable = probability >= self._min_probability and not self._vocabulary.is_end(best)
        return best if is_usable else None


def _check_same(draft: Vocabulary, target: Vocabulary, path: Path) -> None:
    """Compare two vocabularies by size and by a sample of their tokens."""
    step = max(1, target.n_tokens // CHECKED_PIECES)
    is_same = draft.n_tokens == target.n_tokens and all(
        draft.piece(token, with_special=True) == target.piece(token, with_special=True)
        for token in range(0, target.n_tokens, step)
    )
    if not is_same:
        msg = f"{path} cannot draft: its vocabulary is another one ({draft.n_tokens} tokens, {target.n_tokens} wanted)."
        raise ModelLoadError(msg)
