"""Hidden states of texts and scores of pairs, from the weights that also generate: no second copy of them.

The contexts that this needs are made on first use and stay until `close`. Equal texts have equal states to the last
bit, whatever shares their batch: small ones are padded to common lengths, which a causal model cannot see, and each
has cells of its own, so only the number of texts in a batch varies, on which no row depends. Models without a cache
see a whole batch at once and get one text at a time. Knows tokens; texts and requests are `embedding_jobs`' business.
"""

from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mcp_server.engine.models.gguf_file import GgufHeader
from mcp_server.engine.native import llama
from mcp_server.engine.native.context import Batch, ContextSize, make_context
from mcp_server.engine.native.llama import native
from mcp_server.engine.settings import EngineSettings
from mcp_server.errors import ContextLengthError, EngineError

States = npt.NDArray[np.float32]  # (n_tokens, n_embd)

BATCHED_TEXTS = 4  # texts computed together; each more costs the cells of one longest text
BATCHED_TOKENS = 128  # longest text that shares a batch; longer ones fill the cores alone
PADDING_TOKENS = 32  # lengths of texts that share a batch are multiples of this
UBATCH_TOKENS = 128  # of causal models: llama.cpp reserves a row of logits for each (600 kB with 150,000 tokens)
POOLINGS: dict[int, Literal["mean", "cls", "last"]] = {1: "mean", 2: "cls", 3: "last"}  # llama.cpp's numbers
POOLING_RANK = 4


class Embedder:
    """What one loaded model makes of texts besides more text."""

    def __init__(self, model: Any, header: GgufHeader, path: Path, settings: EngineSettings) -> None:
        """Read what the model can do; `model` must outlive this."""
        self._model, self._path, self._settings = model, path, settings
        self._states_context: _Context | None = None
        self._ranking_context: _Context | None = None
        about = {key.removeprefix(f"{header.architecture}."): value for key, value in header.metadata.items()}
        self._is_causal = bool(about.get("attention.causal", True))
        pooling = about.get("pooling_type")
        self.pooling = POOLINGS.get(pooling) if isinstance(pooling, int) else None  # that the model was made with
        self.can_rerank = pooling == POOLING_RANK
        self.is_made_to_embed = self.pooling is not None or not self._is_causal
        self.max_tokens = min(settings.embedding_tokens, int(native.llama_model_n_ctx_train(model)))  # of one text
        has_state = native.llama_model_is_recurrent(model) or native.llama_model_is_hybrid(model)
        self._can_batch = self._is_causal and not has_state

    def group(self, lengths: Items[int]) -> list[list[int]]:
        """Divide texts, given by their numbers of tokens, into batches for `states`; gives lists of indices."""
        groups: dict[int, list[list[int]]] = {}
        for i, n_tokens in enumerate(lengths):
            is_small = self._can_batch and n_tokens <= BATCHED_TOKENS
            batches = groups.setdefault(_padded(n_tokens) if is_small else -i, [[]])
            if len(batches[-1]) == BATCHED_TEXTS:
                batches.append([])
            batches[-1].append(i)
        return [batch for batches in groups.values() for batch in batches]

    def states(self, texts: Items[list[int]]) -> list[States]:
        """Compute the last hidden states of texts that `group` put together.

        Raises:
            ContextLengthError: A text is longer than `max_tokens`.
        """
        for tokens in texts:
            self._check_length(tokens)
        if self._states_context is None:
            self._states_context = self._make_context(native.LLAMA_POOLING_TYPE_NONE)
        is_padded = self._can_batch and all(len(tokens) <= BATCHED_TOKENS for tokens in texts)
        rows = self._states_context.run([_pad(tokens) if is_padded else tokens for tokens in texts])
        return [states[: len(tokens)].copy() for states, tokens in zip(rows, texts, strict=True)]

    def score(self, tokens: list[int]) -> float:
        """Judge one pair of query and document, joined as the model wants them.

        Raises:
            ContextLengthError: The pair is longer than `max_tokens`.
        """
        self._check_length(tokens)
        if self._ranking_context is None:
            self._ranking_context = self._make_context(native.LLAMA_POOLING_TYPE_RANK)
        return self._ranking_context.score(tokens)

    def close(self) -> None:
        """Free the contexts; idempotent."""
        for context in (self._states_context, self._ranking_context):
            if context is not None:
                context.close()
        self._states_context = self._ranking_context = None

    def _check_length(self, tokens: list[int]) -> None:
        if len(tokens) > self.max_tokens:
            msg = f"A text has {len(tokens)} tokens; at most {self.max_tokens} can be embedded at once. Split it."
            raise ContextLengthError(msg, param="input")

    def _make_context(self, pooling: int) -> "_Context":
        n_texts = BATCHED_TEXTS if self._can_batch and pooling == native.LLAMA_POOLING_TYPE_NONE else 1
        longest = _padded(self.max_tokens)
        size = ContextSize(
            n_cells=n_texts * longest,
            n_batch=max(longest, n_texts * BATCHED_TOKENS),
            n_slots=n_texts,
            n_ubatch=UBATCH_TOKENS if self._is_causal else longest,
            pooling=pooling,
        )
        return _Context(self._model, size, self._settings, self._path)


class _Context:
    """A native context whose outputs are embeddings."""

    def __init__(self, model: Any, size: ContextSize, settings: EngineSettings, path: Path) -> None:
        self._path = path
        self._n_embd = int(native.llama_model_n_embd_out(model))
        self._context: Any = make_context(model, size, settings)
        self._batch = Batch(size.n_batch)

    def run(self, texts: Items[list[int]]) -> list[States]:
        """Compute texts of equal length, or a single one; the arrays are valid until the next call."""
        self._decode(texts)
        shape = (len(texts), len(texts[0]), self._n_embd)
        return list(np.ctypeslib.as_array(native.llama_get_embeddings(self._context), shape))

    def score(self, tokens: list[int]) -> float:
        """Compute one pair; give the first output of the ranking head."""
        self._decode([tokens])
        return float(native.llama_get_embeddings_seq(self._context, 0)[0])

    def close(self) -> None:
        native.llama_free(self._context)

    def _decode(self, texts: Items[list[int]]) -> None:
        memory = native.llama_get_memory(self._context)
        if memory:
            native.llama_memory_clear(memory, False)  # noqa: FBT003  # positional-only
        self._batch.clear()
        for slot, tokens in enumerate(texts):
            self._batch.add(tokens, 0, slot, n_outputs=len(tokens))
        llama.forget_log()
        status = native.llama_decode(self._context, self._batch.native)
        if status != 0:
            msg = (
                f"llama_decode failed with {status} on {self._path.name} ({llama.last_errors() or 'no reason given'})."
            )
            raise EngineError(msg)


def _padded(n_tokens: int) -> int:
    return -(-n_tokens // PADDING_TOKENS) * PADDING_TOKENS


def _pad(tokens: list[int]) -> list[int]:
    """Repeat the last token up to the common length; what follows a token changes nothing for it."""
    return tokens + tokens[-1:] * (_padded(len(tokens)) - len(tokens))
