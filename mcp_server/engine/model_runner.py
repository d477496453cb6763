"""One loaded model and its contexts: a batch of tokens in, rows of logits out.

Under a split KV layout llama.cpp computes together only sequences whose slots follow each other, so batches are sorted
by slot and small holes are filled with a token that is dropped again.

The runner knows slots, positions and tokens, and nothing of queues, requests or text. All calls come from one thread.
Native failures become our errors: NULL at load is `ModelLoadError`, a refused batch is `EngineError`, and a batch for
which no cells are free is not a failure but the answer None.
"""

import itertools
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp_server.engine.chat.chat_template import CHATML
from mcp_server.engine.embedder import Embedder
from mcp_server.engine.models.gguf_file import read_header, split_parts
from mcp_server.engine.native import llama
from mcp_server.engine.native.cells import NativeMemory
from mcp_server.engine.native.context import (
    Batch,
    ContextSize,
    count_threads,
    load_model,
    make_context,
    uses_flash_attention,
)
from mcp_server.engine.native.kv_layout import plan_kv
from mcp_server.engine.native.llama import native
from mcp_server.engine.native.vocabulary import Vocabulary
from mcp_server.engine.sampling.candidates import Logits
from mcp_server.engine.sampling.sampler import logits_of
from mcp_server.engine.scheduler import Chunk
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import Model, ModelProperties
from mcp_server.errors import EngineError

MAX_RETENTION_COST = 0.25  # of a step's multiplications, spent on attention over retained tokens
NO_CELLS = 1  # llama_decode's answer when the KV cache is full; nothing was changed
ECHO_ROWS = 32  # of logits in one batch at least, for prompts whose every token is asked about; 20 MB at 150,000 tokens
MAX_HOLE_SLOTS = 2  # idle slots between busy ones that are filled; a row costs a quarter to a whole of another pass
CHAT_TEMPLATE_KEY = "tokenizer.chat_template"
RERANK_TEMPLATE_KEY = "tokenizer.chat_template.rerank"
FILE_TYPE_KEY = "general.file_type"
_FILE_TYPES = {
    value: name.removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_").removeprefix("ALL_")
    for name, value in vars(native).items()
    if name.startswith("LLAMA_FTYPE_")
}


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
        self.kv_plan = plan_kv(self._header.metadata, settings, self.context_tokens)
        self.n_draft_tokens = settings.draft_tokens if settings.draft_model else 0
        self.n_outputs = max(settings.n_slots + self.n_draft_tokens, ECHO_ROWS)
        size = self._size()
        try:
            self._context = make_context(self._model, size, settings)
        except BaseException:
            self.close()
            raise
        self.memory = NativeMemory(self._context, is_split=not size.is_unified)
        self._batch = Batch(size.n_batch)
        self._fills_holes = not size.is_unified and self.can_share_prefixes

    @property
    def can_generate(self) -> bool:
        """Tell whether the model writes texts; one without a cache only embeds or ranks them, as one made to rank."""
        return self.memory.is_there and not self.embedder.can_rerank

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
    def retained_tokens(self) -> int | None:
        """Tokens of finished sequences worth keeping in slots: None for all of them, else the setting, or 0.

        Attention in a unified cache walks over all cells in use. For a tiny model that is most of a step: the embedded
        one decodes a third as fast beside 2,000 retained tokens. Beside a split cache they cost nothing.
        """
        n_tokens = self._settings.prefix_cache_tokens
        if self.kv_plan.layout == "split" and n_tokens:
            return None
        n_multiplications = 2 * native.llama_model_n_layer(self._model) * native.llama_model_n_embd(self._model)
        budget = native.llama_model_n_params(self._model) * MAX_RETENTION_COST
        return n_tokens if n_tokens * n_multiplications <= budget else 0

    @property
    def native_context(self) -> Any:
        """The context, for native samplers that read its rows; valid until `close`."""
        return self._context

    def run(self, chunks: Items[Chunk]) -> list[range] | None:
        """Compute one batch; give the rows of each chunk's outputs, in the order of the chunks.

        None: no cells are free, nothing changed. Rows are valid until the next call.

        Raises:
            EngineError: The native code refused the batch or failed.
        """
        parts: list[Chunk | Filler] = sorted(chunks, key=_slot_of)
        fillers = self._fillers(parts) if self._fills_holes else []
        if fillers:
            parts = sorted([*parts, *fillers], key=_slot_of)
        self._batch.fill(parts)
        status = native.llama_decode(self._context, self._batch.native)
        for filler in fillers:
            self.memory.remove(filler.slot, filler.start)
        if status == NO_CELLS:
            return None
        _check_status(status, self._path)
        ends = dict(zip(map(_slot_of, parts), itertools.accumulate(len(part.tokens) for part in parts), strict=True))
        return [range(ends[chunk.slot] - chunk.n_outputs, ends[chunk.slot]) for chunk in chunks]

    def logits(self, row: int) -> Logits:
        """View one row of logits `(n_vocab,)` in native memory, valid until the next `run`."""
        return logits_of(self._context, row, self.vocabulary.n_tokens)

    def _fillers(self, parts: Items["Chunk | Filler"]) -> list["Filler"]:
        """Make tokens for idle slots between busy ones, unless they would lengthen everybody's attention."""
        fillers = []
        for one, other in itertools.pairwise(parts):
            if 1 < other.slot - one.slot <= MAX_HOLE_SLOTS + 1:
                longest = max(one.start, other.start)
                hole = [Filler(slot, self.memory.count(slot)) for slot in range(one.slot + 1, other.slot)]
                fillers += hole if all(filler.start <= longest for filler in hole) else []
        return fillers

    def count_cells(self, slot: int) -> int:
        """Count the positions that a slot really holds, as the native memory says."""
        return self.memory.count(slot)

    def describe(self, model: Model) -> ModelProperties:
        """Tell what the model is and can do, as llama.cpp and the file say."""
        template = self.chat_template or CHATML
        return ModelProperties(
            model_id=model.model_id,
            path=model.path,
            architecture=self._header.architecture,
            quantization=quantization_name(self._header.metadata.get(FILE_TYPE_KEY)),
            n_parameters=int(native.llama_model_n_params(self._model)),
            size_bytes=model.size_bytes,
            n_vocab=self.vocabulary.n_tokens,
            n_embedding=int(native.llama_model_n_embd(self._model)),
            n_layers=int(native.llama_model_n_layer(self._model)),
            context_tokens=self.context_tokens,
            trained_context_tokens=int(native.llama_model_n_ctx_train(self._model)),
            n_slots=self._settings.n_slots,
            n_threads=count_threads(self._model, self._settings),
            gpu_layers=self._count_gpu_layers(),
            kv_layout=self.kv_plan.layout,
            flash_attention=uses_flash_attention(self._settings),
            chat_template=template,
            bos_token=self.vocabulary.bos_text,
            eos_token=self.vocabulary.eos_text,
            can_generate=self.can_generate,
            can_infill=False,
            can_rerank=self.embedder.can_rerank,
            can_share_prefixes=self.can_share_prefixes,
            has_native_tools="tools" in template,
            has_reasoning="<think>" in template,
            draft_model=self._settings.draft_model or None,
        )

    def close(self) -> None:
        """Free everything native; idempotent."""
        self.embedder.close()
        if self._context is not None:
            native.llama_free(self._context)
        if self._model is not None:
            native.llama_model_free(self._model)
        self._context = self._model = None

    def _count_gpu_layers(self) -> int:
        if not native.llama_supports_gpu_offload():
            return 0
        n_layers = int(native.llama_model_n_layer(self._model)) + 1  # the output layer counts as one
        return n_layers if self._settings.gpu_layers < 0 else min(self._settings.gpu_layers, n_layers)

    def _size(self) -> ContextSize:
        settings = self._settings
        n_prefill = max(settings.prefill_chunk_tokens, settings.idle_prefill_tokens)
        n_batch = settings.n_slots + self.n_draft_tokens + n_prefill
        is_unified = self.kv_plan.layout == "unified"
        return ContextSize(
            self.kv_plan.n_cells, n_batch, settings.n_slots, is_unified=is_unified, n_outputs=self.n_outputs
        )


@dataclass(slots=True)
class Filler:
    """A token for an idle slot, computed for nobody and dropped after the batch."""

    slot: int
    start: int  # the first position that the slot does not hold
    tokens: list[int] = field(default_factory=lambda: [0])
    n_outputs: int = 0


def quantization_name(file_type: object) -> str:
    """Name what most weights of a file are stored as, such as Q4_0; "" when the file does not say."""
    return _FILE_TYPES.get(file_type, "")


def _slot_of(part: Chunk | Filler) -> int:
    return part.slot


def _check_status(status: int, path: Path) -> None:
    if status != 0:
        msg = f"llama_decode failed with {status} on {path.name} ({llama.last_errors() or 'no reason given'})."
        raise EngineError(msg)
