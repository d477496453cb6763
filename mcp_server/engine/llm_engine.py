"""One loaded model generating for many requests: a beat is schedule, run, postprocess.

Requests become sequences here (template, tokens, grammar, limits), and sampled tokens become events. The scheduler
knows nothing of tensors, the runner nothing of queues; this only joins them. Synchronous and not thread-safe: one
thread makes it, steps it and closes it.
"""

import itertools
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from mcp_server.engine.active_request import ActiveRequest, check_scheduling
from mcp_server.engine.chat.chat_template import ChatTemplate
from mcp_server.engine.chat.detokenizer import Detokenizer
from mcp_server.engine.chat.prompts import Prompt, PromptMaker
from mcp_server.engine.draft_model import DraftModel
from mcp_server.engine.drafting import PROMPT_LOOKUP, Drafter, PromptLookup
from mcp_server.engine.echo import begin_prompt_logprobs, note_prompt_logprobs
from mcp_server.engine.embedding_jobs import EmbeddingRun, RerankRun
from mcp_server.engine.jobs import Event, Failed, Finished, Job, Progress, Started, failed
from mcp_server.engine.kv_cache import CacheLimits, KVCache
from mcp_server.engine.model_runner import ModelRunner
from mcp_server.engine.sampling.sampler import TokenSampler
from mcp_server.engine.sampling.sampler_chain import within_context
from mcp_server.engine.sampling.sampling_checks import check_sampling
from mcp_server.engine.scheduler import BatchLimits, Chunk, Scheduler
from mcp_server.engine.sequence import Sequence, SequenceState
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.tally import Counters, Tally
from mcp_server.engine.types import (
    Delta,
    DetokenizeResult,
    EmbeddingRequest,
    GenerationRequest,
    GenerationResult,
    Model,
    ModelProperties,
    ModelStatistics,
    RenderedPrompt,
    RerankRequest,
    TokenizeRequest,
    TokenizeResult,
    Usage,
)
from mcp_server.errors import EngineError, InvalidRequestError, NotSupportedError

MAX_COMPLETIONS = 128  # of one request; each holds a native sampler from the start
STATISTICS_AGE_S = 0.05  # s; counting after every step would cost 8 microseconds a token
SEED_BITS = 31  # of a seed drawn here; small enough to add the completion's index


class LLMEngine:
    """A loaded model and the requests in its batch."""

    def __init__(
        self,
        model: Model,
        settings: EngineSettings,
        counters: Counters,
        clock: Callable[[], float] = time.perf_counter,
        draft: Path | None = None,
    ) -> None:
        """Load the model, and the one that drafts for it.

        Args:
            model: the one to load.
            settings: for it.
            counters: of all models together.
            clock: gives the time (s) that jobs were submitted in.
            draft: of a smaller model of the same vocabulary, when the settings name one.

        Raises:
            ModelLoadError: It cannot be loaded.
        """
        self.model = model
        self._counters = counters
        self._clock = clock
        self.runner = ModelRunner(Path(model.path), settings)
        self._vocabulary = self.runner.vocabulary
        try:
            template = ChatTemplate(
                self.runner.chat_template, bos_token=self._vocabulary.bos_text, eos_token=self._vocabulary.eos_text
            )
            self._drafter = self._make_drafter(settings, draft)
        except BaseException:
            self.runner.close()
            raise
        self._prompts = PromptMaker(self._vocabulary, template, self.runner.context_tokens, model.model_id)
        limits = CacheLimits(
            self.runner.retained_tokens,
            settings.prefix_cache_bytes if settings.prefix_cache_tokens else 0,
            self.runner.can_share_prefixes,
        )
        self.kv_cache = KVCache(self.runner.memory, settings.n_slots, limits)
        self._scheduler = Scheduler(
            self.kv_cache,
            BatchLimits(
                settings.prefill_chunk_tokens,
                settings.idle_prefill_tokens,
                self.runner.n_outputs,
                self.runner.n_draft_tokens,
                self.runner.context_tokens,
            ),
            self._drafter,
        )
        self._tally = Tally()
        self._statistics: ModelStatistics | None = None  # as of `_counted_at`
        self._counted_at = 0.0
        self._deadlines: dict[int, float] = {}  # request id -> when it fails, of those that have one
        self._requests: dict[int, ActiveRequest] = {}

    @property
    def is_idle(self) -> bool:
        """Tell whether no request is queued or running."""
        return not self._requests

    @property
    def n_running(self) -> int:
        """Count the sequences in the batch."""
        return len(self._scheduler.running)

    def add(self, job: Job, request: GenerationRequest) -> None:
        """Queue a request.

        Raises:
            NotSupportedError: The model does not generate.
            InvalidRequestError: A field cannot be used as given.
            ContextLengthError: The prompt does not fit the model's context.
        """
        if not self.runner.can_generate:
            msg = f"{self.model.model_id} embeds or ranks texts and writes none; name a model that generates."
            raise NotSupportedError(msg, param="model")
        check_sampling(request.sampling)
        check_scheduling(request)
        if not 1 <= request.n <= MAX_COMPLETIONS:
            msg = f"`n` is {request.n}; it must be 1 to {MAX_COMPLETIONS}."
            raise InvalidRequestError(msg, param="n")
        sequences = self._make_sequences(job, request, self._prompts.make(request))
        leader, *leader.forks = sequences
        for fork in leader.forks:
            fork.leader = leader
        active = self._requests[job.request_id] = ActiveRequest(job, request, sequences)
        if active.deadline_at is not None:
            self._deadlines[job.request_id] = active.deadline_at
        self._tally.n_requests += 1
        self._scheduler.add(leader)

    def abort(self, request_id: int) -> bool:
        """Take a request out of queue and batch, and free its cells; False when it is not here."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return False
        self._deadlines.pop(request_id, None)
        for sequence in request.sequences:
            if sequence.state is not SequenceState.FINISHED:
                self._scheduler.finish(sequence, keeps_tokens=False)
                sequence.sampler.close()
        return True

    def step(self) -> list[Event]:
        """Run one beat; give what happened in it.

        Raises:
            EngineError: Native inference failed; nothing of this engine can be trusted afterwards.
        """
        began_at = self._clock()
        events: list[Event] = self._expire(began_at) if self._deadlines else []
        chunks, rows = self._run_next_batch(events)
        self._scheduler.commit(chunks)
        self._counters.n_steps += bool(chunks)
        now = self._clock()
        n_sampled = 0
        for chunk, its_rows in zip(chunks, rows, strict=True):
            sequence = chunk.sequence
            if sequence.state is SequenceState.FINISHED:
                continue  # its request failed a moment ago, in another completion
            if sequence.wants_prompt_rows:
                note_prompt_logprobs(sequence, chunk.start, its_rows, self._vocabulary, self.runner.logits)
            if its_rows and not sequence.n_uncomputed:
                n_sampled += self._advance(chunk, its_rows[-1 - len(chunk.guesses) :], now, events)
        self._tally.note_step(chunks, n_sampled, self._clock() - began_at)
        return events

    def statistics(self) -> ModelStatistics:
        """Tell what was done since the model was loaded, and what runs now; at most 50 ms old while requests run."""
        now, n_cells = self._clock(), self.runner.kv_plan.n_cells
        if self._statistics is None or self.is_idle or now - self._counted_at > STATISTICS_AGE_S:
            self._counted_at = now
            self._statistics = self._tally.statistics(
                self.model.model_id, self._scheduler, self.kv_cache, self._requests, n_cells
            )
        return self._statistics

    def close(self) -> None:
        """Abort everything and free the model; idempotent."""
        for request_id in tuple(self._requests):
            self.abort(request_id)
        if self._drafter is not None:
            self._drafter.close()
        self.runner.close()

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
        self._vocabulary.check(token_ids, "token_ids")
        data = b"".join(self._vocabulary.piece(token, with_special=True) for token in token_ids)
        return DetokenizeResult(self.model.model_id, data.decode("utf-8", "replace"))

    def render(self, request: GenerationRequest) -> RenderedPrompt:
        """Give the prompt of a request."""
        prompt = self._prompts.make(request)
        return RenderedPrompt(self.model.model_id, prompt.text, len(prompt.token_ids))

    def describe(self) -> ModelProperties:
        """Tell what the model is and can do."""
        return self._prompts.described(self.runner.describe(self.model))

    def start_embedding(self, request: EmbeddingRequest) -> EmbeddingRun:
        """Begin to embed texts; the caller advances it between steps.

        Raises:
            InvalidRequestError: A text or token cannot be used as given.
            ContextLengthError: A text's size alone says that it is too long.
        """
        return EmbeddingRun(self.runner.embedder, self._vocabulary, request)

    def start_ranking(self, request: RerankRequest) -> RerankRun:
        """Begin to judge documents; the caller advances it between steps.

        Raises:
            NotSupportedError: The model has no ranking head.
            InvalidRequestError: Query or documents are missing.
            ContextLengthError: A document's size alone says that it is too long.
        """
        return RerankRun(self.runner.embedder, self._vocabulary, request, template=self.runner.rerank_template)

    def _make_drafter(self, settings: EngineSettings, draft: Path | None) -> Drafter | None:
        if settings.draft_model == PROMPT_LOOKUP:
            return PromptLookup()
        if draft is None:
            return None
        return DraftModel(draft, self._vocabulary, self.runner.context_tokens, settings)

    def _make_sequences(self, job: Job, request: GenerationRequest, prompt: Prompt) -> list[Sequence]:
        sampling, tokens = within_context(request.sampling, self.runner.context_tokens), prompt.token_ids
        room = self.runner.context_tokens - len(tokens)
        plan = self._prompts.plan(request, prompt)
        seed = secrets.randbits(SEED_BITS) if sampling.seed is None else sampling.seed
        logprobs = begin_prompt_logprobs(request, self._vocabulary, tokens[0])
        return [
            Sequence(
                request_id=job.request_id,
                index=index,
                tokens=list(tokens),
                n_prompt=len(tokens),
                max_tokens=room if sampling.max_tokens is None else min(sampling.max_tokens, room),
                sampler=TokenSampler(
                    self._vocabulary, sampling, seed=seed + index, grammar=plan.grammar, prompt=tokens
                ),
                detokenizer=Detokenizer(sampling.stop, plan.layout),
                shown_tokens=self._prompts.shown_tokens(plan),
                n_logprobs=sampling.n_logprobs,
                priority=request.scheduling.priority,
                uses_cache=request.scheduling.cache_prompt,
                returns_token_ids=request.output.return_token_ids,
                echo_text=prompt.text if request.output.echo else "",
                prompt_logprobs=logprobs if index == 0 else None,
                max_decode_s=None if sampling.max_decode_ms is None else sampling.max_decode_ms / 1000,
            )
            for index in range(request.n)
        ]

    def _run_next_batch(self, events: list[Event]) -> tuple[list[Chunk], list[range]]:
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
                request.started_at = self._clock()
                self._tally.note_start(chunk.sequence)
                events.append(Started(request.job.request_id))
        return events

    def _expire(self, now: float) -> list[Event]:
        """Fail the requests whose time is over."""
        late = [request_id for request_id, deadline in self._deadlines.items() if deadline <= now]
        events: list[Event] = []
        for request_id in late:
            events.append(Failed(request_id, self._requests[request_id].deadline_error()))
            self.abort(request_id)
        return events

    def _advance(self, chunk: Chunk, rows: range, now: float, events: list[Event]) -> int:
        """Add the next tokens of a sequence, or fail its request; count the tokens added."""
        sequence = chunk.sequence
        request = self._requests[sequence.request_id]
        n_before = len(sequence.tokens)
        try:
            if sequence.max_tokens:
                self._sample_run(chunk, rows, now, events)
            else:  # computing its prompt was all that was asked for
                _report(sequence, sequence.end("length"), events)
        except Exception as error:  # noqa: BLE001  # its own grammar, parser or sampler: nobody beside it need suffer
            self.abort(sequence.request_id)
            events.append(failed(sequence.request_id, error))
            return 0
        if sequence.finish_reason:
            self._end(sequence, request, events)
        return len(sequence.tokens) - n_before

    def _sample_run(self, chunk: Chunk, rows: range, now: float, events: list[Event]) -> None:
        """Sample the next tokens of a sequence, as far as they were guessed and one more."""
        sequence = chunk.sequence
        request = self._requests[sequence.request_id]
        if request.first_token_at is None:
            self._tally.note_first_token(request, now)
        sequence.note_time(now)
        n_accepted = 0
        for row, guess in itertools.zip_longest(rows, chunk.guesses):
            self._sample(sequence, row, events)
            if sequence.finish_reason or sequence.tokens[-1] != guess:
                break
            n_accepted += 1
        if chunk.guesses:
            self._scheduler.accept(chunk, n_accepted)
            self._tally.note_guesses(len(chunk.guesses), n_accepted)

    def _sample(self, sequence: Sequence, row: int, events: list[Event]) -> None:
        """Sample one token, and say what text it released."""
        token = sequence.sampler.sample(self.runner.native_context, row)
        if token is None or self._vocabulary.is_end(token):
            delta = sequence.end("stop")
        else:
            logprob = sequence.sampler.report(self.runner.native_context, row, token)
            piece = self._vocabulary.piece(token, with_special=token in sequence.shown_tokens)
            delta = sequence.append(token, piece, logprob)
        _report(sequence, delta, events)

    def _end(self, sequence: Sequence, request: ActiveRequest, events: list[Event]) -> None:
        """Free what a finished sequence held, and finish its request with the last one."""
        self._scheduler.finish(sequence, keeps_tokens=True)
        sequence.sampler.close()
        if request.is_done:
            del self._requests[sequence.request_id]
            self._deadlines.pop(sequence.request_id, None)
            events.append(Finished(sequence.request_id, self._result(request)))

    def _result(self, request: ActiveRequest) -> GenerationResult:
        leader = request.sequences[0]
        usage = Usage(
            prompt_tokens=leader.n_prompt,
            completion_tokens=sum(sequence.n_output for sequence in request.sequences),
            cached_tokens=leader.n_cached,
            drafted_tokens=sum(sequence.n_drafted for sequence in request.sequences),
            accepted_tokens=sum(sequence.n_accepted for sequence in request.sequences),
        )
        self._counters.n_prompt_tokens += usage.prompt_tokens
        self._counters.n_completion_tokens += usage.completion_tokens
        completions = tuple(sequence.completion() for sequence in request.sequences)
        prompt_logprobs = leader.prompt_logprobs
        return GenerationResult(
            model=self.model.model_id,
            completions=completions,
            usage=usage,
            timings=request.timings(self._clock()),
            prompt_token_ids=tuple(leader.tokens[: leader.n_prompt]) if leader.returns_token_ids else None,
            prompt_logprobs=None if prompt_logprobs is None else tuple(prompt_logprobs),
        )


def _report(sequence: Sequence, delta: Delta | None, events: list[Event]) -> None:
    """Say what text was released, if any."""
    if delta:
        events.append(Progress(sequence.request_id, delta))
