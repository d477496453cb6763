"""Speculative decoding: whoever guesses, and however badly, the output is what it is without."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_server.engine.drafting import PROMPT_LOOKUP, DraftRequest, PromptLookup
from mcp_server.engine.jobs import Finished, Job
from mcp_server.engine.llm_engine import LLMEngine
from mcp_server.engine.models.catalog import ModelCatalog
from mcp_server.engine.tally import Counters
from mcp_server.engine.types import GenerationRequest, GenerationResult, ModelStatistics, SamplingParams
from mcp_server.errors import ModelLoadError
from tests.random_models import make_random_gguf, random_model
from tests.stepped import EMBEDDED

TIE = 1e-3  # of log-probabilities: a batch may round such a pair either way
PROMPTS = ("def add(a, b):\n    return a + b\n\ndef add3(a, b, c):\n", "one two three one two three one", "x")
Run = Callable[..., tuple[list[GenerationResult], ModelStatistics]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the small vocabulary of the embedded one, which loads in no time."""
    return make_random_gguf(tmp_path_factory.mktemp("models") / "model.gguf", EMBEDDED, arch="llama")


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same vocabulary that guesses badly."""
    path = tmp_path_factory.mktemp("models") / "another.gguf"
    return make_random_gguf(path, EMBEDDED, arch="llama", layers=1, seed=7)


@pytest.fixture
def run(make_settings: Any) -> Run:
    """Generate for all prompts at once; give the results and what was counted."""

    def run(model: Path, draft: Path | str, **sampling: Any) -> tuple[list[GenerationResult], ModelStatistics]:
        settings = make_settings(
            model=str(model), draft_model=str(draft), threads=1, n_slots=4, draft_min_probability=0
        )
        path = draft if isinstance(draft, Path) else None
        engine = LLMEngine(ModelCatalog(settings).resolve(None), settings, Counters(), draft=path)
        greedy = {"temperature": 0, "max_tokens": 48, "ignore_eos": True, "n_logprobs": 2}
        params = SamplingParams(**(greedy | sampling))
        for i, prompt in enumerate(PROMPTS):
            request = GenerationRequest(prompt=prompt, n=2 if i == 0 else 1, sampling=params)
            engine.add(Job(i, request, time.perf_counter()), request)
        results: dict[int, GenerationResult] = {}
        while not engine.is_idle:
            for event in engine.step():
                if isinstance(event, Finished) and isinstance(event.outcome, GenerationResult):
                    results[event.request_id] = event.outcome
        statistics = engine.statistics()
        engine.close()
        return [results[i] for i in range(len(PROMPTS))], statistics

    return run


def assert_same(plain: list[GenerationResult], drafted: list[GenerationResult]) -> None:
    pairs = [
        (a, b)
        for one, other in zip(plain, drafted, strict=True)
        for a, b in zip(one.completions, other.completions, strict=True)
    ]
    for one, other in pairs:
        for a, b in zip(one.logprobs or (), other.logprobs or (), strict=True):
            if a.token_id != b.token_id:
                assert abs((a.top[0].logprob or 0) - (a.top[1].logprob or 0)) < TIE
                break


@pytest.mark.parametrize("drafter", ["itself", "another", PROMPT_LOOKUP])
def test_a_drafter_changes_the_number_of_steps_and_no_token(run: Run, model: Path, another: Path, drafter: str) -> None:
    drafts = {"itself": model, "another": another}
    plain, without = run(model, "")
    drafted, with_drafts = run(model, drafts.get(drafter, drafter))
    assert_same(plain, drafted)
    assert with_drafts.n_drafted_tokens >= with_drafts.n_accepted_tokens
    assert with_drafts.n_steps <= without.n_steps
    if drafter == "itself":
        assert with_drafts.n_accepted_tokens == with_drafts.n_drafted_tokens > 0
    spent = [result.usage for result in drafted]
    assert sum(usage.drafted_tokens for usage in spent) == with_drafts.n_drafted_tokens


def test_a_seed_draws_the_same_text_with_a_drafter(run: Run, model: Path) -> None:
    hot = {"temperature": 0.8, "seed": 11}
    plain, _ = run(model, "", **hot)
    drafted, statistics = run(model, model, **hot)
    assert [result.completions[0].text for result in plain] == [result.completions[0].text for result in drafted]
    assert statistics.n_drafted_tokens > 0


def test_a_stop_text_inside_accepted_guesses_ends_the_completion_there(run: Run, model: Path) -> None:
    plain, _ = run(model, "")
    stop = plain[1].completions[0].text[40:44]
    cut, _ = run(model, "", stop=(stop,))
    drafted, _ = run(model, model, stop=(stop,))
    assert [r.completions[0].text for r in cut] == [r.completions[0].text for r in drafted]


def test_a_draft_model_of_another_vocabulary_is_refused_by_name(run: Run, model: Path) -> None:
    with pytest.raises(ModelLoadError, match="vocabulary"):
        run(model, random_model("llama-spm", arch="llama"))


def test_a_lookup_guesses_what_followed_the_same_tokens_before() -> None:
    lookup = PromptLookup()
    tokens = [1, 2, 3, 4, 5, 6, 1, 2, 3]
    assert lookup.propose([DraftRequest(0, tokens, 2)]) == [[4, 5]]
    assert lookup.propose([DraftRequest(0, [*tokens, 9], 2)]) == [[]]
    lookup.release(0)
    assert lookup.propose([DraftRequest(0, [4, 5, 6], 2)]) == [[]]
