"""One loaded model generating for many requests: a beat is schedule, run, postprocess.

Requests become sequences here (template, tokens, grammar, limits), and sampled tokens become events. The scheduler
knows nothing of tensors, the runner nothing of queues; this only joins them. Synchronous and not thread-safe: one
thread makes it, steps it and closes it.
"""

import itertools
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcp_server.engine.chat_template import ChatTemplate
from mcp_server.engine.grammar import grammar_of
from mcp_server.engine.jobs import Event, Finished, Job, Progress, Started
from mcp_server.engine.kv_cache import KVCache
from mcp_server.engine.model_runner import ModelRunner
from mcp_server.engine.sampler import Candidates, Logits, TokenSampler, check_sampling, token_logprob
from mcp_server.engine.scheduler import Chunk, Scheduler
from mcp_server.engine.sequence import Detokenizer, Sequence
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import (
    DetokenizeResult,
    GenerationRequest,
    GenerationResult,
    Model,
    ModelProperties,
    ModelStatistics,
    RenderedPrompt,
    RerankRequest,
    RerankResult,
    Timings,
    TokenizeRequest,
    TokenizeResult,
    Usage,
)
from mcp_server.engine.vocabulary import count_bytes
from mcp_server.errors import ContextLengthError, EngineError, InvalidRequestError, NotSupportedError

MAX_COMPLETIONS = 128  # of one request; each holds a native sampler from the start
SEED_BITS = 31  # of a seed drawn here; small enough to add the completion's index


@dataclass
class Counters:
    """What was done since the worker started, over all models; only the worker writes."""

    n_requests: int = 0
    n_aborted: int = 0
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    n_steps: int = 0


@dataclass
class ActiveRequest:
    """A request whose sequences are queued or running."""

    job: Job
    sequences: list[Sequence]
    started_at: float | None = None  # first batch; time.perf_counter(), as the next
    first_token_at: float | None = None

    @property
    def is_done(self) -> bool:
        """Tell whether every completion has ended."""
        return all(sequence.finish_reason for sequence in self.sequences)


class LLMEngine:
    """A loaded model and the requests in its batch."""

    def __init__(self, model: Model, settings: EngineSettings, counters: Counters) -> None:
        """Load the model.

        Raises:
            ModelLoadError: It cannot be loaded.
        """
        self.model = model
        self._counters = counters
        self.runner = ModelRunner(Path(model.path), settings)
        self._vocabulary = self.runner.vocabulary
        try:
            self._template = ChatTemplate(
                self.runner.chat_template, bos_token=self._vocabulary.bos_text, eos_token=self._vocabulary.eos_text
            )
        except BaseException:
            self.runner.close()
            raise
        self.kv_cache = KVCache(
            self.runner,
            settings.n_slots,
            retained_tokens=self.runner.retained_tokens,
            can_share=self.runner.can_share_prefixes,
        )
        self._scheduler = Scheduler(self.kv_cache, prefill_chunk_tokens=settings.prefill_chunk_tokens)
        self._candidates = Candidates(self._vocabulary.n_tokens)
        self._requests: dict[int, ActiveRequest] = {}

    @property
    def is_idle(self) -> bool:
        """Tell whether no request is queued or running."""
        return not self._requests

    @property
    def n_running(self) -> int:
        """Count the sequences in the batch."""
        return len(self._scheduler.running)

    def statistics(self) -> ModelStatistics:
        """Count what this model does now."""
        return ModelStatistics(self.model.model_id, n_running=self.n_running, n_waiting=len(self._scheduler.waiting))

    def add(self, job: Job, request: GenerationRequest) -> None:
        """Queue a request.

        Raises:
            InvalidRequestError: A field cannot be used as given.
            ContextLengthError: The prompt does not fit the model's context.
        """
        check_sampling(request.sampling)
        if not 1 <= request.n <= MAX_COMPLETIONS:
            msg = f"`n` is {request.n}; it must be 1 to {MAX_COMPLETIONS}."
            raise InvalidRequestError(msg, param="n")
        tokens = self._prompt_tokens(request)
        room = self.runner.context_tokens - len(tokens)
        sequences = self._make_sequences(job, request, tokens, room)
        leader, *leader.forks = sequences
        self._requests[job.request_id] = ActiveRequest(job, sequences)
        self._scheduler.add(leader)

    def abort(self, request_id: int) -> bool:
        """Take a request out of queue and batch, and free its cells; False when it is not here."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return False
        for sequence in request.sequences:
            if not sequence.finish_reason:
                self._scheduler.finish(sequence, keeps_tokens=False)
                sequence.sampler.close()
        return True

    def step(self) -> list[Event]:
        """Run one beat; give what happened in it.

        Raises:
            EngineError: Native inference failed; nothing of this engine can be trusted afterwards.
        """
        events: list[Event] = []
        chunks, rows = self._run_next_batch(events)
        self._scheduler.commit(chunks)
        self._counters.n_steps += bool(chunks)
        sampled = (chunk.sequence for chunk in chunks if chunk.wants_logits)
        for sequence, logits in zip(sampled, rows, strict=True):
            events += self._advance(sequence, logits)
        return events

    def close(self) -> None:
        """Abort everything and free the model; idempotent."""
        for request_id in tuple(self._requests):
            self.abort(request_id)
        self.runner.close()

    def encode(self, text: str) -> list[int]:
        """Tokenize a text that is not a prompt of its own: no BOS is added."""
        return self._vocabulary.encode(text, is_prompt=False)

    def tokenize(self, request: TokenizeRequest) -> TokenizeResult:
        """Tokenize a text for a caller."""
        tokens = tuple(
            self._vocabulary.encode(request.text, is_prompt=request.add_special, parse_special=request.parse_special)
        )
        pieces = tuple(tuple(self._vocabulary.piece(token, with_special=True)) for token in tokens)
        return TokenizeResult(self.model.model_id, tokens, len(tokens), pieces if request.return_pieces else None)

    def detokenize(self, token_ids: tuple[int, ...]) -> DetokenizeResult:
        """Make text of token ids, control tokens spelt out.

        Raises:
            InvalidRequestError: An id is not one of this model's.
        """
        for token in token_ids:
            if not 0 <= token < self._vocabulary.n_tokens:
                msg = f"{token} is no token of this model; its ids are 0 to {self._vocabulary.n_tokens - 1}."
                raise InvalidRequestError(msg, param="token_ids")
        data = b"".join(self._vocabulary.piece(token, with_special=True) for token in token_ids)
        return DetokenizeResult(self.model.model_id, data.decode("utf-8", "replace"))

    def render(self, request: GenerationRequest) -> RenderedPrompt:
        """Give the prompt of a request."""
        prompt = self._prompt(request)
        return RenderedPrompt(self.model.model_id, prompt, len(self._vocabulary.encode(prompt)))

    def describe(self) -> ModelProperties:
        """Tell what the model is and can do."""
        return self.runner.describe(self.model)

    def rerank(self, _request: RerankRequest) -> RerankResult:
        """Judge documents.

        Raises:
            NotSupportedError: The model has no ranking head.
        """
        msg = f"{self.model.model_id} has no ranking head; load a reranker to rank documents."
        raise NotSupportedError(msg, param="model")

    def check_embeddable(self, text: str) -> None:
        """Refuse a text whose size alone says that it is too long to embed.

        Raises:
            ContextLengthError: It is; the message has both numbers.
        """
        limit = self.runner.embedding_tokens
        if self._vocabulary.exceeds(text, limit):
            msg = f"A text has {count_bytes(text)} bytes; at most {limit} tokens can be embedded at once. Split it."
            raise ContextLengthError(msg, param="input")

    def embed(self, tokens: list[int], *, normalize: bool) -> tuple[float, ...]:
        """Embed one tokenized text."""
        vector = self.runner.embed(tokens)  # (n_embd,)
        length = float(np.linalg.norm(vector)) if normalize else 1.0
        return tuple(float(x) for x in vector / (length or 1.0))

    def _prompt_tokens(self, request: GenerationRequest) -> list[int]:
        """Tokenize the prompt, unless its size alone says that it cannot fit."""
        prompt, limit = self._prompt(request), self.runner.context_tokens
        if self._vocabulary.exceeds(prompt, limit):
            size = f"{count_bytes(prompt)} bytes, more than {limit} tokens can hold"
        else:
            tokens = self._vocabulary.encode(prompt)
            if len(tokens) < limit:
                return tokens
            size = f"{len(tokens)} tokens"
        msg = (
            f"The prompt has {size}; {self.model.model_id} has a context of {limit} tokens, prompt and completion "
            "together. Shorten the prompt."
        )
        raise ContextLengthError(msg, param="messages" if request.messages else "prompt")

    def _prompt(self, request: GenerationRequest) -> str:
        if (request.prompt is None) == (not request.messages):
            msg = "Give exactly one of `messages` and `prompt`."
            raise InvalidRequestError(msg, param="messages")
        if request.prompt is None:
            return self._template.render(request.messages)
        if not request.prompt:
            msg = "The prompt is empty; give at least one character."
            raise InvalidRequestError(msg, param="prompt")
        return request.prompt

    def _make_sequences(self, job: Job, request: GenerationRequest, tokens: list[int], room: int) -> list[Sequence]:
        sampling = request.sampling
        grammar = grammar_of(sampling)
        seed = secrets.randbits(SEED_BITS) if sampling.seed is None else sampling.seed
        return [
            Sequence(
                request_id=job.request_id,
                index=index,
                tokens=list(tokens),
                n_prompt=len(tokens),
                max_tokens=min(sampling.max_tokens or room, room),
                sampler=TokenSampler(self._vocabulary, sampling, seed=seed + index, grammar=grammar),
                detokenizer=Detokenizer(sampling.stop),
                n_logprobs=sampling.n_logprobs,
            )
            for index in range(request.n)
        ]

    def _run_next_batch(self, events: list[Event]) -> tuple[list[Chunk], list[Logits]]:
        """Compute the next batch that fits; note in `events` whose first it is."""
        while True:
            chunks = self._scheduler.schedule()
            events += self._note_started(chunks)
            rows = self.runner.run(chunks) if chunks else []
            if rows is not None:
                return chunks, rows
            if not self._scheduler.make_room():
                msg = "The KV cache has no room for a single sequence; raise CINQUE_ENGINE_KV_CACHE_TOKENS."
                raise EngineError(msg)

    def _note_started(self, chunks: list[Chunk]) -> list[Event]:
        events: list[Event] = []
        for chunk in chunks:
            request = self._requests[chunk.sequence.request_id]
            if request.started_at is None:
                request.started_at = time.perf_counter()
                events.append(Started(request.job.request_id))
        return events

    def _advance(self, sequence: Sequence, logits: Logits) -> list[Event]:
        """Sample the next token of a sequence, and end what it ends."""
        request = self._requests[sequence.request_id]
        request.first_token_at = request.first_token_at or time.perf_counter()
        token = sequence.sampler.sample(self._candidates, logits)
        if token is None or self._vocabulary.is_end(token):
            delta = sequence.end("stop")
        else:
            n_top = sequence.n_logprobs
            logprob = None if n_top is None else token_logprob(self._vocabulary, logits, token, n_top)
            delta = sequence.append(token, self._vocabulary.piece(token), logprob)
        events: list[Event] = [Progress(sequence.request_id, delta)] if delta else []
        if sequence.finish_reason:
            self._scheduler.finish(sequence, keeps_tokens=True)
            sequence.sampler.close()
        if request.is_done:
            del self._requests[sequence.request_id]
            events.append(Finished(sequence.request_id, self._result(request)))
        return events

    def _result(self, request: ActiveRequest) -> GenerationResult:
        leader = request.sequences[0]
        usage = Usage(leader.n_prompt, sum(s.n_output for s in request.sequences), leader.n_cached)
        self._counters.n_prompt_tokens += usage.prompt_tokens
        self._counters.n_completion_tokens += usage.completion_tokens
        completions = tuple(sequence.completion() for sequence in request.sequences)
        return GenerationResult(self.model.model_id, completions, usage, _timings(request))


def _timings(request: ActiveRequest) -> Timings:
    marks = (request.job.submitted_at, request.started_at, request.first_token_at, time.perf_counter())
    queue, prefill, decode = (
        (later - earlier) * 1000 if earlier is not None and later is not None else 0.0
        for earlier, later in itertools.pairwise(marks)
    )
    return Timings(queue, prefill, decode)
