"""An engine's host stepped by hand: every beat is a test's own, and so is every second."""

import shutil
import threading
from typing import Any

from mcp_server.engine.engine_host import EngineHost
from mcp_server.engine.jobs import (
    Event,
    Failed,
    Finished,
    Job,
    LoadRequest,
    Outcome,
    Progress,
    Request,
)
from mcp_server.engine.models.catalog import EMBEDDED_PATH, ModelCatalog
from mcp_server.engine.models.memory import estimate_memory
from mcp_server.engine.types import (
    GenerationRequest,
    SamplingParams,
)

EMBEDDED = next(EMBEDDED_PATH.glob("*.gguf"))
TINY = EMBEDDED.stem
NEVER_END = {"0": -100.0, "2": -100.0}  # the embedded model's end tokens, so that a test decides the length


class ManualClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Stepped:
    """A host stepped by hand, with models a, b, c beside the embedded one."""

    def __init__(self, settings: Any) -> None:
        settings.models_path.mkdir(parents=True, exist_ok=True)
        for name in "abc":
            shutil.copyfile(EMBEDDED, settings.models_path / f"{name}.gguf")
        self.catalog = ModelCatalog(settings)
        self.clock = ManualClock()
        self.host = EngineHost(settings, self.catalog, clock=self.clock)
        self.events: list[Event] = []
        self._n_jobs = 0
        self._is_awake = threading.Event()
        self.host.wake_by(self._is_awake.set)

    def submit(self, request: Request) -> int:
        self._n_jobs += 1
        self.host.submit(Job(self._n_jobs, request, self.clock()))
        return self._n_jobs

    def step(self) -> None:
        """Step once, when there is something to do; what is done beside the worker is waited for."""
        if not self.host.has_work:
            assert self._is_awake.wait(5), "nothing will ever happen again"
        self._is_awake.clear()
        self.events += self.host.step()

    def outcome_of(self, request_id: int) -> Outcome:
        """Step until a job is done."""
        while True:
            for event in self.events:
                if event.request_id == request_id and isinstance(event, Finished):
                    return event.outcome
                if event.request_id == request_id and isinstance(event, Failed):
                    raise event.error
            self.step()

    def ask(self, request: Request) -> Outcome:
        return self.outcome_of(self.submit(request))

    def load(self, *names: str, **options: Any) -> None:
        for name in names:
            self.ask(LoadRequest(name, **options))

    def start(self, model: str, **changes: Any) -> int:
        """Submit a generation and step until its first token is there."""
        request_id = self.submit(endless(model, **changes))
        while not any(isinstance(event, Progress) and event.request_id == request_id for event in self.events):
            self.step()
        return request_id

    def memory_bytes(self, name: str) -> int:
        model = self.catalog.resolve(name)
        return estimate_memory(model, self.catalog.options(model).settings).total_bytes

    def loaded(self) -> set[str]:
        return {model.model_id for model in self.host.statistics().loaded_models}

    def is_done(self, request_id: int) -> bool:
        return any(isinstance(e, Finished | Failed) and e.request_id == request_id for e in self.events)


def endless(model: str, n_tokens: int = 200, **changes: Any) -> GenerationRequest:
    sampling = SamplingParams(max_tokens=n_tokens, temperature=0, logit_bias=NEVER_END)
    return GenerationRequest(prompt="x", model=model, sampling=sampling, **changes)
