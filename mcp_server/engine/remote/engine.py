"""The engine over a remote model: any OpenAI-compatible server, such as llama-server, vLLM, Ollama, another Cinque.

It keeps the promise of `Engine`: deltas as they arrive, joined while the consumer is busy; a cancelled request closes
its connection, which aborts it there. What the server counts is believed, time is measured here. Request bodies are
made by `wire`, answers read by `answer`, connections kept by `http`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from mcp_server.engine.remote.answer import Answer
from mcp_server.engine.remote.http import RemoteHttp
from mcp_server.engine.remote.pool import Clock, Replica
from mcp_server.engine.remote.relay import Relay, all_of
from mcp_server.engine.remote.settings import RemoteModel, RemoteSettings
from mcp_server.engine.remote.stream import Stopwatch, StreamReader
from mcp_server.engine.remote.texts import RemoteTexts
from mcp_server.engine.remote.wire import (
    COMPLETIONS_PATH,
    check_request,
    generation_call,
    infill_as_completion,
)
from mcp_server.engine.types import (
    Delta,
    DeltaSink,
    DetokenizeResult,
    EmbeddingRequest,
    EmbeddingResult,
    EngineStatistics,
    GenerationRequest,
    GenerationResult,
    LoadedModel,
    ModelProperties,
    ModelStatistics,
    RenderedPrompt,
    RerankRequest,
    RerankResult,
    TokenizeRequest,
    TokenizeResult,
    UpstreamStatistics,
    Usage,
)
from mcp_server.errors import (
    DeadlineError,
    EngineError,
    InvalidRequestError,
    ModelNotFoundError,
    NotSupportedError,
)

DEFAULT_NAMES = (None, "", "default")


class RemoteEngine:
    """The `Engine` over one remote model; serves one event loop."""

    def __init__(
        self, model: RemoteModel, settings: RemoteSettings | None = None, *, clock: Clock = time.monotonic
    ) -> None:
        """Keep what is to be asked; nothing is connected before the first request.

        Args:
            model: the entry of models.toml.
            settings: read from the environment when left out.
            clock: gives seconds; for the circuit breakers and the timings.
        """
        self._model = model
        self._upstream = model.upstream_model or model.model_id
        self._clock = clock
        self._http = RemoteHttp(model, settings or RemoteSettings(), clock)
        self._texts = RemoteTexts(model, self._http)
        self._counted = ModelStatistics(model.model_id)
        self._n_aborted = 0
        self._loaded: LoadedModel | None = None
        self._takes_n = True  # until the server shows that it does not
        self._is_closed = False

    async def generate(self, request: GenerationRequest, on_delta: DeltaSink | None = None) -> GenerationResult:
        """Generate; when cancelled, the connection closes, and the server stops.

        Raises:
            CinqueError: InvalidRequestError, ContextLengthError, ModelNotFoundError, NotSupportedError, QueueFullError
                or DeadlineError as of a local model; UpstreamError when the server failed.
        """
        check_request(request)
        self._check(request.model)
        with self._counting(request) as stopwatch:
            deadline_ms = request.scheduling.deadline_ms
            with anyio.move_on_after(None if deadline_ms is None else deadline_ms / 1000) as scope:
                result = await self._generate(request, on_delta, stopwatch)
            if scope.cancelled_caught:
                msg = f"{self._model.model_id} was not done within {deadline_ms:g} ms; allow more, or ask for less."
                raise DeadlineError(msg, param="deadline_ms")
            self._count(result, stopwatch)
        return result

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResult:
        """Embed texts; how they are pooled is the server's choice."""
        self._check(request.model)
        return await self._texts.embed(request)

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Judge documents; raises `NotSupportedError` where the server ranks nothing."""
        self._check(request.model)
        return await self._texts.rerank(request)

    async def tokenize(self, request: TokenizeRequest) -> TokenizeResult:
        """Tokenize text; raises `NotSupportedError` where the server does not."""
        self._check(request.model)
        return await self._texts.tokenize(request)

    async def detokenize(self, token_ids: tuple[int, ...], model: str | None = None) -> DetokenizeResult:
        """Make text of token ids; raises `NotSupportedError` where the server does not."""
        self._check(model)
        return await self._texts.detokenize(token_ids)

    async def render(self, request: GenerationRequest) -> RenderedPrompt:
        """Give the prompt that the server makes; raises `NotSupportedError` where it does not tell."""
        check_request(request)
        self._check(request.model)
        return await self._texts.render(request)

    async def describe(self, model: str | None = None) -> ModelProperties:
        """Tell what the server tells about its model."""
        self._check(model)
        properties = await self._texts.describe()
        self._loaded = LoadedModel(self._model.model_id, properties.context_tokens)
        return properties

    async def load(self, model: str | None = None, keep_alive_s: float | None = None) -> LoadedModel:
        """See that the server is there and has the model; when it unloads it is its own affair."""
        del keep_alive_s
        properties = await self.describe(model)
        return LoadedModel(self._model.model_id, properties.context_tokens)

    async def unload(self, model: str | None = None) -> bool:
        """Forget what the server told and close idle connections; its memory is its own affair."""
        self._check(model)
        was_loaded, self._loaded = self._loaded is not None, None
        if not self._counted.n_running:
            await self._http.aclose()
        return was_loaded

    async def check_health(self) -> tuple[tuple[str, str], ...]:
        """Probe every server at once, for `cinque doctor`; give each URL with what is wrong there, "" when nothing."""
        replicas = self._http.pool.replicas
        faults = dict.fromkeys((replica.url for replica in replicas), "")

        async def probe(replica: Replica) -> None:
            error = await self._http.pool.check(replica)
            faults[replica.url] = error.message if error else ""

        await all_of([partial(probe, replica) for replica in replicas])
        return tuple(faults.items())

    def statistics(self) -> EngineStatistics:
        """Count what was asked since the start, and tell how the servers do."""
        counted = replace(self._counted, n_waiting=self._http.n_waiting)
        return EngineStatistics(
            n_running=counted.n_running,
            n_waiting=counted.n_waiting,
            n_requests=counted.n_requests,
            n_aborted=self._n_aborted,
            n_prompt_tokens=counted.n_prompt_tokens,
            n_completion_tokens=counted.n_completion_tokens,
            n_steps=counted.n_steps,
            loaded_models=() if self._loaded is None else (self._loaded,),
            models=(counted,),
            upstreams=self._upstreams(),
        )

    async def aclose(self) -> None:
        """Close every connection; idempotent."""
        self._is_closed = True
        await self._http.aclose()

    def _upstreams(self) -> tuple[UpstreamStatistics, ...]:
        return tuple(replica.statistics() for replica in self._http.pool.replicas)

    def _check(self, name: str | None) -> None:
        if self._is_closed:
            msg = f"The connection to {self._model.model_id} is closed; nothing more can be asked in this process."
            raise EngineError(msg)
        known = (self._model.model_id, *self._model.aliases)
        if name not in DEFAULT_NAMES and name not in known:
            msg = f"There is no model {name!r} here; available: {', '.join(known)}."
            raise ModelNotFoundError(msg, param="model")

    async def _generate(
        self, request: GenerationRequest, on_delta: DeltaSink | None, stopwatch: Stopwatch
    ) -> GenerationResult:
        echoed = await self._echoed(request)
        relay = Relay()
        answers = await relay.run(lambda: self._answers(request, relay, stopwatch, echoed), on_delta)
        completions = [completion for answer in answers for completion in answer.completions()]
        wanted = sorted(completions, key=lambda completion: completion.index)[: request.n]
        return GenerationResult(
            model=self._model.model_id,
            completions=tuple(replace(one, text=echoed + one.text) for one in wanted),
            usage=_total(answers),
            timings=stopwatch.timings(),
            prompt_token_ids=answers[0].prompt_token_ids,
        )

    async def _echoed(self, request: GenerationRequest) -> str:
        """Give the prompt where it is to stand before the answer; few servers do that themselves."""
        if not request.output.echo:
            return ""
        if request.sampling.n_logprobs is not None:
            msg = f"{self._model.model_id} is a remote model, whose prompt has no logprobs; leave `echo` or them out."
            raise NotSupportedError(msg, param="echo")
        return request.prompt or (await self._texts.render(request)).prompt

    async def _answers(
        self, request: GenerationRequest, relay: Relay, stopwatch: Stopwatch, echoed: str
    ) -> tuple[Answer, ...]:
        """Ask once for all completions, or once for each where the server makes only one at a time."""
        if echoed:
            relay.put(Delta(index, echoed) for index in range(request.n))
        first = await self._ask_for_all(request, relay, stopwatch)
        missing = range(first.n_completions if first else 0, request.n)
        later = [Answer(request, index) for index in missing]
        if first is not None and later:
            self._takes_n = False  # it ignored n

        def one(answer: Answer, index: int) -> Any:
            return partial(self._read, _nth(request, index), answer, relay, stopwatch)

        await all_of([one(answer, index) for answer, index in zip(later, missing, strict=True)])
        self._takes_n = self._takes_n and not later  # those worked, so n was what it refused
        return ((first,) if first else ()) + tuple(later)

    async def _ask_for_all(self, request: GenerationRequest, relay: Relay, stopwatch: Stopwatch) -> Answer | None:
        """Ask for n completions at once; None where the server cannot do that."""
        if request.n > 1 and not self._takes_n:
            return None
        answer = Answer(request)
        try:
            await self._read(request, answer, relay, stopwatch)
        except InvalidRequestError:
            if request.n == 1 or answer.n_completions:
                raise
            return None  # the same error comes again when n was not to blame
        return answer

    async def _read(self, request: GenerationRequest, answer: Answer, relay: Relay, stopwatch: Stopwatch) -> None:
        """Read one stream to its end; a gap to fill in whichever of two forms the server knows."""
        reader = StreamReader(self._model, answer, relay, stopwatch)
        path, body = generation_call(request, self._upstream)
        if request.infill is None:
            await self._http.stream(f"/v1{path}", body, reader)
            return
        try:
            await self._http.stream(path, body, reader)
        except NotSupportedError:
            if request.infill.extra:
                raise
        else:
            return
        await self._http.stream(f"/v1{COMPLETIONS_PATH}", infill_as_completion(body, request.infill), reader)

    @contextmanager
    def _counting(self, request: GenerationRequest) -> Iterator[Stopwatch]:
        """Count a request as running, and as aborted where it does not come to its end."""
        stopwatch = Stopwatch(self._clock, self._clock())
        counted = self._counted
        self._counted = replace(counted, n_running=counted.n_running + request.n, n_requests=counted.n_requests + 1)
        is_done = False
        try:
            yield stopwatch
            is_done = True
        finally:
            self._n_aborted += not is_done
            self._counted = replace(self._counted, n_running=self._counted.n_running - request.n)

    def _count(self, result: GenerationResult, stopwatch: Stopwatch) -> None:
        counted, usage = self._counted, result.usage
        self._counted = replace(
            counted,
            n_prompt_tokens=counted.n_prompt_tokens + usage.prompt_tokens,
            n_cached_tokens=counted.n_cached_tokens + usage.cached_tokens,
            n_completion_tokens=counted.n_completion_tokens + usage.completion_tokens,
            n_drafted_tokens=counted.n_drafted_tokens + usage.drafted_tokens,
            n_accepted_tokens=counted.n_accepted_tokens + usage.accepted_tokens,
            n_prefix_hits=counted.n_prefix_hits + (usage.cached_tokens > 0),
            n_steps=counted.n_steps + stopwatch.n_events,
            first_token_s=counted.first_token_s + (result.timings.queue_ms + result.timings.prefill_ms) / 1000,
            n_first_tokens=counted.n_first_tokens + (stopwatch.first is not None),
        )


def _nth(request: GenerationRequest, index: int) -> GenerationRequest:
    """Give the request for one of several completions."""
    seed = request.sampling.seed
    sampling = request.sampling if seed is None else replace(request.sampling, seed=seed + index)
    return replace(request, n=1, sampling=sampling)


def _total(answers: tuple[Answer, ...]) -> Usage:
    """Add up what the answers to one prompt cost; the prompt counts once, as in a local engine."""
    usages = [answer.usage or Usage(0, 0) for answer in answers]
    return Usage(
        prompt_tokens=usages[0].prompt_tokens,
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=usages[0].cached_tokens,
        drafted_tokens=sum(usage.drafted_tokens for usage in usages),
        accepted_tokens=sum(usage.accepted_tokens for usage in usages),
    )
