"""Prometheus metrics of the shim, and of the MCP server as its `status` tool tells them at the scrape.

One registry for all doors: each door's `/metrics` answers all of it. It knows no dialect.
"""

import anyio
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mcp_server.contract import ServerStatus
from shim.engine_metrics import EngineCollector
from shim.errors import ApiError
from shim.gateway import Gateway

SCRAPE_TIMEOUT_S = 2.0  # Prometheus gives up after 10 by default; a busy child must not hide the shim's own numbers
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Every metric of one shim; lives as long as it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "cinque_http_requests", "Requests answered", ("door", "path", "status"), registry=self.registry
        )
        self._duration = Histogram(
            "cinque_http_request_duration_seconds",
            "Time from the first byte of a request to the last of its response",
            ("door", "path"),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._gauges: dict[str, Gauge] = {}
        self._engine = EngineCollector()
        self.registry.register(self._engine)

    def observe_request(self, door: str, path: str, status: int, duration_s: float) -> None:
        """Count one request. *path* is the route's, so that ids in paths make no new series."""
        self._requests.labels(door, path, str(status)).inc()
        self._duration.labels(door, path).observe(duration_s)

    async def render(self) -> bytes:
        """Return everything in the exposition format; the child's part is left out while it is down."""
        statistics = self._gateway.statistics()
        self._engine.statistics = None  # until the child answers
        self._set("cinque_mcp_server_up", "Whether the MCP server answers", value=False)
        self._set("cinque_gateway_calls", "Tool calls since the start", statistics.n_calls)
        self._set("cinque_gateway_failed_calls", "Tool calls that failed since the start", statistics.n_failed)
        self._set("cinque_gateway_calls_in_flight", "Tool calls under way", statistics.n_in_flight)
        if statistics.is_connected:
            self._set("cinque_mcp_server_up", "Whether the MCP server answers", await self._scrape_server())
        return generate_latest(self.registry)

    async def _scrape_server(self) -> bool:
        """Set the child's part; return whether it answered in time."""
        with anyio.move_on_after(SCRAPE_TIMEOUT_S):
            try:
                self._set_server(await self._gateway.status())
            except ApiError:
                return False
            return True
        return False

    def _set_server(self, status: ServerStatus) -> None:
        engine, sandbox = status.engine, status.sandbox
        self._engine.statistics = engine
        self._set("cinque_engine_sequences_running", "Sequences in the batch", engine.n_running)
        self._set("cinque_engine_requests_waiting", "Requests in the queue", engine.n_waiting)
        self._set("cinque_engine_requests", "Generation requests since the server's start", engine.n_requests)
        self._set("cinque_engine_aborted", "Requests aborted since the server's start", engine.n_aborted)
        self._set("cinque_engine_prompt_tokens", "Prompt tokens since the server's start", engine.n_prompt_tokens)
        self._set("cinque_engine_completion_tokens", "Generated tokens since its start", engine.n_completion_tokens)
        self._set("cinque_engine_steps", "Decoding steps since the server's start", engine.n_steps)
        self._set("cinque_sandbox_jobs_running", "Programs running", sandbox.n_running)
        self._set("cinque_sandbox_jobs_waiting", "Programs waiting", sandbox.n_waiting)
        self._set("cinque_sandbox_jobs", "Programs run since the server's start", sandbox.n_executed)
        self._set("cinque_sandbox_jobs_passed", "Programs that succeeded since its start", sandbox.n_passed)

    def _set(self, name: str, meaning: str, value: float) -> None:
        if name not in self._gauges:
            self._gauges[name] = Gauge(name, meaning, registry=self.registry)
        self._gauges[name].set(value)


def metrics_route(metrics: Metrics) -> Route:
    """Return the route of `/metrics`."""

    async def scrape(_: Request) -> Response:
        return Response(await metrics.render(), headers={"content-type": CONTENT_TYPE_LATEST})

    return Route("/metrics", scrape)
