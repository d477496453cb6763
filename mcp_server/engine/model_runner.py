"""One loaded model and its contexts: a batch of tokens in, rows of logits out.

The runner knows slots, positions and tokens, and nothing of queues, requests or text. All calls come from one thread.
Native failures become our errors: NULL at load is `ModelLoadError`, a refused batch is `EngineError`, and a batch for
which no cells are free is not a failure but the answer None.
"""

from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

import numpy as np

from mcp_server.engine import llama
from mcp_server.engine.chat_template import CHATML
from mcp_server.engine.context import Batch, ContextSize, load_model, make_context
from mcp_server.engine.embedder import Embedder
from mcp_server.engine.gguf_file import read_header, split_parts
from mcp_server.engine.llama import native
from mcp_server.engine.sampler import Logits
from mcp_server.engine.scheduler import Chunk
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import Model, ModelProperties
from mcp_server.engine.vocabulary import Vocabulary
from mcp_server.errors import EngineError

MAX_RETENTION_COST = 0.25  # of a step's multiplications, spent on attention over retained tokens
NO_CELLS = 1  # llama_decode's answer when the KV cache is full; nothing was changed
CHAT_TEMPLATE_KEY = "tokenizer.chat_template"
RERANK_TEMPLATE_KEY = "tokenizer.chat_template.rerank"
FILE_TYPE_KEY = "general.file_type"


class ModelRunner:
    """A loaded model with the context it decodes in; `close` frees it."""

    def __init__(self, path: Path, settings: EngineSettings) -> None:
        """Load the file and make the context.

        Raises:
            ModelLoadError: The file is missing, damaged, or not of an architecture that this build runs.
        """
        self._header, *_ = [read_header(part) for part in split_parts(path)]
        self._path = path
        self._settings = settings
        self._context: Any = None
        self._model: Any = load_model(path, self._header, settings)
        self.vocabulary = Vocabulary(self._model)
        self.chat_template: str | None = self._header.metadata.get(CHAT_TEMPLATE_KEY)
        n_trained = int(native.llama_model_n_ctx_train(self._model))
        self.context_tokens = min(settings.max_context_tokens, n_trained)
        self.embedder = Embedder(self._model, self._header, path, settings)
        try:
            self._context = make_context(self._model, self._size(), settings)
        except BaseException:
            self.close()
            raise
        self._memory = native.llama_get_memory(self._context)
        self._batch = Batch(self._size().n_batch)

    @property
    def can_generate(self) -> bool:
        """Tell whether the model writes texts; one without a cache only embeds or ranks them, as one made to rank."""
        return bool(self._memory) and not self.embedder.can_rerank

    @property
    def rerank_template(self) -> str | None:
        """How a model made to rank wants query and document, when its file says so."""
        return self._header.metadata.get(RERANK_TEMPLATE_KEY)

    @property
    def can_share_prefixes(self) -> bool:
        """Tell whether cells can be cut and shared at any position, which recurrent states and windows cannot."""
        has_state = native.llama_model_is_recurrent(self._model) or native.llama_model_is_hybrid(self._model)
        return not has_state and native.llama_model_n_swa(self._model) == 0

    @property
    def retained_tokens(self) -> int:
        """Tokens of finished sequences worth keeping: the setting, or 0 where every step would pay for them.

        Attention walks over all cells in use. For a tiny model that is most of a step: the embedded one decodes a
        third as fast beside 2,000 retained tokens.
        """
        n_tokens = self._settings.prefix_cache_tokens
        n_multiplications = 2 * native.llama_model_n_layer(self._model) * native.llama_model_n_embd(self._model)
        budget = native.llama_model_n_params(self._model) * MAX_RETENTION_COST
        return n_tokens if n_tokens * n_multiplications <= budget else 0

    def run(self, chunks: Items[Chunk]) -> list[Logits] | None:
        """Compute one batch; give the logits `(n_vocab,)` of each chunk that wants them, in order.

        The rows are views into native memory, valid until the next call. None: no cells are free, nothing changed.

        Raises:
            EngineError: The native code refused the batch or failed.
        """
        self._batch.clear()
        rows = []
        for chunk in chunks:
            row = self._batch.add(chunk.tokens, chunk.start, chunk.slot, n_outputs=int(chunk.wants_logits))
            rows += [row] if chunk.wants_logits else []
        status = native.llama_decode(self._context, self._batch.native)
        if status == NO_CELLS:
            return None
        _check_status(status, self._path)
        shape = (self.vocabulary.n_tokens,)
        return [np.ctypeslib.as_array(native.llama_get_logits_ith(self._context, row), shape) for row in rows]

    def remove(self, slot: int, start: int) -> bool:
        """Drop the cells of a slot from a position on; False when the memory can only drop all of them."""
        return bool(native.llama_memory_seq_rm(self._memory, slot, start, -1))

    def copy(self, source: int, target: int, n_tokens: int) -> None:
        """Let one slot share the first cells of another."""
        native.llama_memory_seq_cp(self._memory, source, target, 0, n_tokens)

    def count_cells(self, slot: int) -> int:
        """Count the positions that a slot really holds, as the native memory says."""
        return int(native.llama_memory_seq_pos_max(self._memory, slot)) + 1

    def describe(self, model: Model) -> ModelProperties:
        """Tell what the model is and can do, as llama.cpp and the file say."""
        template = self.chat_template or CHATML
        return ModelProperties(
            model_id=model.model_id,
            path=model.path,
            architecture=self._header.architecture,
            quantization=str(self._header.metadata.get(FILE_TYPE_KEY, "")),
            n_parameters=int(native.llama_model_n_params(self._model)),
            size_bytes=model.size_bytes,
            n_vocab=self.vocabulary.n_tokens,
            n_embedding=int(native.llama_model_n_embd(self._model)),
            n_layers=int(native.llama_model_n_layer(self._model)),
            context_tokens=self.context_tokens,
            trained_context_tokens=int(native.llama_model_n_ctx_train(self._model)),
            n_slots=self._settings.n_slots,
            n_threads=int(native.llama_n_threads(self._context)),
            gpu_layers=0,
            kv_layout="unified",
            flash_attention=False,
            chat_template=template,
            bos_token=self.vocabulary.bos_text,
            eos_token=self.vocabulary.eos_text,
            can_generate=self.can_generate,
            can_infill=False,
            can_rerank=self.embedder.can_rerank,
            can_share_prefixes=self.can_share_prefixes,
            has_native_tools="tools" in template,
            has_reasoning="<think>" in template,
        )

    def close(self) -> None:
        """Free everything native; idempotent."""
        self.embedder.close()
        if self._context is not None:
            native.llama_free(self._context)
        if self._model is not None:
            native.llama_model_free(self._model)
        self._context = self._model = None

    def _size(self) -> ContextSize:
        n_slots, context = self._settings.n_slots, self.context_tokens
        n_cells = min(max(self._settings.kv_cache_tokens, context), n_slots * context)
        return ContextSize(n_cells, n_slots + self._settings.prefill_chunk_tokens, n_slots)


def _check_status(status: int, path: Path) -> None:
    if status != 0:
        msg = f"llama_decode failed with {status} on {path.name} ({llama.last_errors() or 'no reason given'})."
        raise EngineError(msg)
