"""The models in memory: how much they take, who goes to make room, and when one leaves by itself.

Kept in the order of use, so the first is the one used longest ago. A model in use never leaves; it is named as one that
must end first. Not thread-safe, like the engines it holds. Knows nothing of the line of jobs or of time but what it is
told.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from mcp_server.engine.embedding_jobs import EmbeddingRun, RerankRun
from mcp_server.engine.jobs import Job
from mcp_server.engine.llm_engine import LLMEngine
from mcp_server.engine.models.catalog import ModelOptions, State
from mcp_server.engine.types import LoadedModel, Model
from mcp_server.errors import ModelLoadError


@dataclass
class Embedding:
    """A job of vectors or scores, done one batch of texts a beat so that running streams go on."""

    job: Job
    run: EmbeddingRun | RerankRun


@dataclass(eq=False)
class Resident:
    """One loaded model and what is asked of it."""

    model: Model
    options: ModelOptions
    state: State  # of its file when it was loaded
    engine: LLMEngine
    memory_bytes: int  # as estimated before it was loaded
    idle_since: float
    asked_keep_alive_s: float | None = None  # by the last request that said something of it
    request_ids: set[int] = field(default_factory=set)  # in the batch or among the embeddings
    embeddings: deque[Embedding] = field(default_factory=deque)
    n_aside: int = 0  # jobs of it that are done beside the worker's thread
    last_beat: int = 0  # the host's count of beats when it had its last

    @property
    def has_beat(self) -> bool:
        """Tell whether a beat would do anything."""
        return bool(self.embeddings) or not self.engine.is_idle

    @property
    def is_busy(self) -> bool:
        """Tell whether it must stay."""
        return self.has_beat or self.n_aside > 0

    @property
    def keep_alive_s(self) -> float:
        """How long it stays without a request; negative: until memory is needed."""
        return self.options.keep_alive_s if self.asked_keep_alive_s is None else self.asked_keep_alive_s

    def expires_in_s(self, now: float) -> float | None:
        """How long it stays if nobody asks for it; None: until memory is needed."""
        if self.keep_alive_s < 0:
            return None
        if self.is_busy:
            return self.keep_alive_s
        return max(0.0, self.idle_since + self.keep_alive_s - now)


class Residents:
    """The loaded models, the one used longest ago first."""

    def __init__(self, budget_bytes: int, max_loaded: int) -> None:
        self._budget_bytes = budget_bytes
        self._max_loaded = max_loaded
        self._residents: dict[str, Resident] = {}

    def __iter__(self) -> Iterator[Resident]:
        return iter(tuple(self._residents.values()))

    def find(self, model_id: str) -> Resident | None:
        """Find by id, whatever became of its file."""
        return self._residents.get(model_id)

    @property
    def latest(self) -> Resident | None:
        """The one used last."""
        return next(reversed(self._residents.values()), None)

    def add(self, resident: Resident) -> None:
        """Take in a model that was just loaded."""
        self._residents[resident.model.model_id] = resident

    def touch(self, resident: Resident, now: float) -> None:
        """Note that it was used; one that was removed meanwhile is freed when nothing is done with it any more."""
        resident.idle_since = now
        if self._residents.get(resident.model.model_id) is resident:
            self._residents[resident.model.model_id] = self._residents.pop(resident.model.model_id)
        elif resident.n_aside == 0:
            resident.engine.close()

    def remove(self, resident: Resident) -> None:
        """Free a model's memory, at the latest when what is done with it in other threads has ended."""
        del self._residents[resident.model.model_id]
        if resident.n_aside == 0:
            resident.engine.close()

    def check_fit(self, model: Model, need_bytes: int) -> None:
        """Refuse what would not fit if it were alone.

        Raises:
            ModelLoadError: It does not; the message has both numbers.
        """
        if need_bytes > self._budget_bytes:
            msg = (
                f"{model.model_id} needs some {need_bytes} bytes of memory; models may take {self._budget_bytes}. "
                "Lower CINQUE_ENGINE_KV_CACHE_TOKENS and CINQUE_ENGINE_MAX_CONTEXT_TOKENS, choose a smaller model, or "
                "raise CINQUE_ENGINE_MEMORY_BUDGET_BYTES."
            )
            raise ModelLoadError(msg, param="model")

    def choose_victims(self, model: Model, need_bytes: int) -> tuple[Resident, ...]:
        """Choose who must go so that a model fits: as few as possible, idle ones first, those used longest ago first.

        An older state of the same model always goes.
        """
        older = self._residents.get(model.model_id)
        forced = () if older is None else (older,)
        victims = list(forced)
        for resident in sorted(self, key=lambda resident: resident.is_busy):  # stable: the order of use stays
            if self._fits(need_bytes, victims):
                break
            if resident not in victims:
                victims.append(resident)
        for resident in reversed(victims[len(forced) :]):
            without = [victim for victim in victims if victim is not resident]
            if self._fits(need_bytes, without):
                victims = without
        return tuple(victims)

    def take_expired(self, now: float) -> tuple[Resident, ...]:
        """Give the idle ones whose time is over; they are still here."""
        return tuple(r for r in self if not r.is_busy and r.expires_in_s(now) == 0.0)

    def next_expiry_s(self, now: float) -> float | None:
        """How long until an idle one's time is over; None: there is no such."""
        times = (resident.expires_in_s(now) for resident in self if not resident.is_busy)
        return min((time for time in times if time is not None), default=None)

    def loaded(self, now: float) -> tuple[LoadedModel, ...]:
        """List them, the one used last first."""
        return tuple(describe(resident, now) for resident in reversed(self._residents.values()))

    def _fits(self, need_bytes: int, victims: list[Resident]) -> bool:
        staying = [resident for resident in self if resident not in victims]
        is_space = sum(resident.memory_bytes for resident in staying) + need_bytes <= self._budget_bytes
        return is_space and len(staying) < self._max_loaded


def describe(resident: Resident, now: float) -> LoadedModel:
    """Say what is loaded and how long it stays."""
    context_tokens = resident.engine.runner.context_tokens
    return LoadedModel(resident.model.model_id, context_tokens, resident.memory_bytes, resident.expires_in_s(now))
