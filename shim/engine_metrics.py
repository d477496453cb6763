"""What the engine counts, as metrics: ours with a `model` label, and llama.cpp's own names summed over models.

`EngineCollector` only translates the statistics that it was last given; it asks nobody. Rates are left to whoever reads
the counters, but where llama.cpp's server documents an average, it is given.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mcp_server.contract import EngineStatistics, ModelStatistics


@dataclass(frozen=True)
class ModelMetric:
    """One number of each loaded model."""

    name: str
    meaning: str
    value: Callable[[ModelStatistics], float]


def _mean(total: float, n: float) -> float:
    """Return the mean; 0 where nothing happened yet."""
    return total / n if n else 0.0


GAUGES = (
    ModelMetric("sequences_running", "Sequences in the batch", lambda m: m.n_running),
    ModelMetric("requests_waiting", "Requests in the queue", lambda m: m.n_waiting),
    ModelMetric("batch_size_mean", "Tokens computed a step, mean", lambda m: _mean(m.n_batched_tokens, m.n_steps)),
    ModelMetric(
        "prompt_tokens_per_second",
        "Prompt tokens computed a second of prefill, mean",
        lambda m: _mean(m.n_prompt_tokens - m.n_cached_tokens, m.prefill_s),
    ),
    ModelMetric(
        "completion_tokens_per_second",
        "Tokens generated a second of decoding, mean",
        lambda m: _mean(m.n_completion_tokens, m.decode_s),
    ),
    ModelMetric(
        "time_to_first_token_mean_seconds",
        "Time from submission to the first token, mean",
        lambda m: _mean(m.first_token_s, m.n_first_tokens),
    ),
    ModelMetric("cells", "Tokens that the KV cache can hold", lambda m: m.n_cells),
    ModelMetric("cells_used", "Tokens that the KV cache holds", lambda m: m.n_cells_used),
    ModelMetric("retained_tokens", "Tokens of them kept for reuse", lambda m: m.n_retained_tokens),
)
"""As `cinque_model_<name>{model=...}`."""

COUNTERS = (
    ModelMetric("requests", "Requests since the model was loaded", lambda m: m.n_requests),
    ModelMetric("prompt_tokens", "Prompt tokens, reused ones included", lambda m: m.n_prompt_tokens),
    ModelMetric("cached_prompt_tokens", "Prompt tokens reused", lambda m: m.n_cached_tokens),
    ModelMetric("completion_tokens", "Tokens generated", lambda m: m.n_completion_tokens),
    ModelMetric("steps", "Steps of the batch", lambda m: m.n_steps),
    ModelMetric("batched_tokens", "Tokens computed in those steps", lambda m: m.n_batched_tokens),
    ModelMetric("prefill_seconds", "Time in steps that had a prompt in them", lambda m: m.prefill_s),
    ModelMetric("decode_seconds", "Time in other steps", lambda m: m.decode_s),
    ModelMetric("time_to_first_token_seconds", "Time to the first token, summed", lambda m: m.first_token_s),
    ModelMetric("first_tokens", "Requests in that sum", lambda m: m.n_first_tokens),
    ModelMetric("preemptions", "Sequences that gave their place up for a while", lambda m: m.n_preempted),
    ModelMetric("prefix_hits", "Requests that reused part of their prompt", lambda m: m.n_prefix_hits),
    ModelMetric("prefix_evictions", "Prefixes dropped to make room", lambda m: m.n_prefix_evictions),
    ModelMetric("drafted_tokens", "Tokens guessed by a draft model", lambda m: m.n_drafted_tokens),
    ModelMetric("accepted_tokens", "Of them, right", lambda m: m.n_accepted_tokens),
)
"""As `cinque_model_<name>_total{model=...}`. They start again when a model is loaded again, as counters may."""


class EngineCollector:
    """Gives a registry the metrics of the statistics that `statistics` was last set to; none while it is None."""

    def __init__(self) -> None:
        self.statistics: EngineStatistics | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        if self.statistics is None:
            return
        models = self.statistics.models
        for metric in GAUGES:
            gauge = GaugeMetricFamily(f"cinque_model_{metric.name}", metric.meaning, labels=("model",))
            yield _filled(gauge, metric, models)
        for metric in COUNTERS:
            counter = CounterMetricFamily(f"cinque_model_{metric.name}", metric.meaning, labels=("model",))
            yield _filled(counter, metric, models)
        yield from _upstreams(self.statistics)
        yield from _of_llama(self.statistics)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, metric: ModelMetric, models: Iterable[ModelStatistics]
) -> Metric:
    for model in models:
        family.add_metric((model.model_id,), metric.value(model))
    return family


def _upstreams(statistics: EngineStatistics) -> Iterator[Metric]:
    """Yield how the servers of remote models do."""
    healthy = GaugeMetricFamily("cinque_upstream_healthy", "Whether a remote model answers", labels=("model", "url"))
    busy = GaugeMetricFamily("cinque_upstream_requests_in_flight", "Requests under way there", labels=("model", "url"))
    asked = CounterMetricFamily("cinque_upstream_requests", "Requests sent there", labels=("model", "url"))
    failed = CounterMetricFamily("cinque_upstream_failed_requests", "Of them, failed", labels=("model", "url"))
    for upstream in statistics.upstreams:
        labels = (upstream.model_id, upstream.url)
        healthy.add_metric(labels, upstream.is_healthy)
        busy.add_metric(labels, upstream.n_in_flight)
        asked.add_metric(labels, upstream.n_requests)
        failed.add_metric(labels, upstream.n_failed)
    yield from (healthy, busy, asked, failed)


def _of_llama(statistics: EngineStatistics) -> Iterator[Metric]:
    """Yield what llama.cpp's server documents, by its names, over all models."""
    models = statistics.models
    n_computed = sum(model.n_prompt_tokens - model.n_cached_tokens for model in models)
    n_generated = sum(model.n_completion_tokens for model in models)
    n_steps = sum(model.n_steps for model in models)
    prefill_s, decode_s = sum(model.prefill_s for model in models), sum(model.decode_s for model in models)
    counters = (
        ("prompt_tokens", "Number of prompt tokens computed", n_computed),
        ("prompt_seconds", "Time in steps that had a prompt in them", prefill_s),
        ("tokens_predicted", "Number of tokens generated", n_generated),
        ("tokens_predicted_seconds", "Time in other steps", decode_s),
        ("n_decode", "Steps of the batch", n_steps),
        ("spec_decode_num_draft_tokens", "Tokens guessed by a draft model", sum(m.n_drafted_tokens for m in models)),
        ("spec_decode_num_accepted_tokens", "Of them, right", sum(m.n_accepted_tokens for m in models)),
        ("spec_decode_num_drafts", "Times that guesses were checked", sum(m.n_drafts for m in models)),
    )
    gauges = (
        ("prompt_tokens_seconds", "Prompt tokens computed a second, mean", _mean(n_computed, prefill_s)),
        ("predicted_tokens_seconds", "Tokens generated a second, mean", _mean(n_generated, decode_s)),
        ("requests_processing", "Sequences in the batch", statistics.n_running),
        ("requests_deferred", "Requests in the queue", statistics.n_waiting),
        ("n_tokens_max", "Tokens of the longest sequence", max((m.n_tokens_max for m in models), default=0)),
        ("n_busy_slots_per_decode", "Sequences that got a token in a step, mean", _mean(n_generated, n_steps)),
    )
    for name, meaning, value in counters:
        yield CounterMetricFamily(f"llamacpp:{name}", meaning, value=value)
    for name, meaning, value in gauges:
        yield GaugeMetricFamily(f"llamacpp:{name}", meaning, value=value)
