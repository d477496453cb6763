"""The data that the embedded model learns from: families that agree with themselves, examples that pass their tests."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from training.embedded_model import about_code, check_families, generate, pack, tokenizer
from training.embedded_model import cases as cases_of
from training.embedded_model.cases import draw_parameters
from training.embedded_model.compositions import compose
from training.embedded_model.examples import Example
from training.embedded_model.families import Family, FamilyError, read_families, read_file
from training.embedded_model.pack import prompt_of
from training.embedded_model.phrasing import third_person
from training.embedded_model.programs import faulty, folded, renamed
from training.embedded_model.sandboxed import failures

FAMILIES = read_families(generate.FOLDER)
PER_KIND = 12  # of which the programs run here; `check_families` runs them all


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    made = Sandbox(SandboxSettings(home=Path(tmp_path_factory.mktemp("home"))))
    yield made
    made.close()


def _sample(kind: str) -> list[Family]:
    return random.Random(1).sample([family for family in FAMILIES if family.kind == kind], PER_KIND)


def _examples(seed: int, n: int, drawer: generate.Drawer) -> list[Example]:
    r = random.Random(seed)
    return [drawer.draw(r) for _ in range(n)]


@pytest.fixture(scope="module")
def drawer() -> generate.Drawer:
    return generate.Drawer(FAMILIES)


@pytest.fixture(scope="module")
def examples(drawer: generate.Drawer) -> list[Example]:
    """Draw what most tests look at."""
    return _examples(7, 600, drawer)


@pytest.fixture(scope="module")
def many_examples(drawer: generate.Drawer) -> list[Example]:
    return _examples(3, 3_000, drawer)


many = [pytest.mark.sweep, pytest.mark.timeout(120)]
few_or_many = pytest.mark.parametrize("drawn", ["examples", pytest.param("many_examples", marks=many)])


def test_there_are_fifteen_hundred_families() -> None:
    assert len(FAMILIES) >= 1_500


@pytest.mark.parametrize("kind", ["function", "class", "script", "edit"])
def test_all_programs_of_a_family_do_the_same(kind: str) -> None:
    wrong = {family.where: list(check_families.problems(family)) for family in _sample(kind)}
    assert {where: found for where, found in wrong.items() if found} == {}


def test_no_text_of_a_drawn_family_has_a_parameter_left() -> None:
    r = random.Random(2)
    for family in FAMILIES:
        drawn, _values = draw_parameters(family, r)
        texts = [*drawn.solutions, *drawn.names, *drawn.statements, *(phrase.text for phrase in drawn.phrases)]
        assert not [
            text for text in texts if any(f"<{name}>" in text for names, _ in family.parameters for name in names)
        ]


@pytest.mark.parametrize(("drawn", "n"), [("examples", 150), pytest.param("many_examples", 600, marks=many)])
def test_every_example_passes_its_tests_in_the_sandbox(
    sandbox: Sandbox, drawn: str, n: int, request: pytest.FixtureRequest
) -> None:
    drawn_examples = request.getfixturevalue(drawn)
    assert failures(drawn_examples[:n], sandbox) == {}
    assert len({example.kind for example in drawn_examples}) >= 12


def test_an_example_whose_program_is_wrong_fails_in_the_sandbox(sandbox: Sandbox, examples: list[Example]) -> None:
    functions = [example for example in examples if example.kind == "function"][:40]
    broken = [Example(**{**vars(one), "source": f"def {one.name}(*_):\n    return object()\n"}) for one in functions]
    assert set(failures(broken, sandbox)) == set(range(len(broken)))


def test_an_example_that_ends_the_job_fails_alone(sandbox: Sandbox, examples: list[Example]) -> None:
    functions = [example for example in examples if example.kind == "function"][:5]
    functions[2] = Example(**{**vars(functions[2]), "source": "import os\nos._exit(0)\n"})
    found = failures(functions, sandbox)
    assert list(found) == [2]
    assert "the job ended" in found[2]


def test_two_runs_of_the_generator_give_the_same_examples() -> None:
    assert _examples(5, 60, generate.Drawer(FAMILIES)) == _examples(5, 60, generate.Drawer(FAMILIES))


def test_cases_do_not_depend_on_what_was_asked_before() -> None:
    """Processes share out the shards as they come, so each has other families behind it."""
    r = random.Random(4)
    drawn = [compose(r).family for _ in range(600)]
    orders = (drawn, drawn[::-1])
    found = []
    for order in orders:
        cases_of._cases.cache_clear()
        found.append({id(family): cases_of.cases(family) for family in order})
    assert [one.name for one in drawn if repr(found[0][id(one)]) != repr(found[1][id(one)])] == []


@few_or_many
def test_newcomers_requests_are_not_among_the_examples(drawn: str, request: pytest.FixtureRequest) -> None:
    requests = generate.newcomers_requests()
    assert len(requests) == 150
    drawn_examples = request.getfixturevalue(drawn)
    said = [text for one in drawn_examples for text in (one.prompt, *one.earlier)]
    assert not [text for text in said if generate.plain(text) in requests]


def test_a_request_that_is_excluded_is_left_out_of_a_shard(
    examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Repeating(generate.Drawer):
        """Draws the examples that are there already, one after the other."""

        def __init__(self) -> None:
            self._left = iter(examples)

        def draw(self, r: random.Random) -> Example:
            del r
            return next(self._left)

    monkeypatch.setattr(generate, "DRAWS_A_SHARD", 20)
    excluded = frozenset({generate.plain(examples[3].prompt)})
    shard = generate.examples_of(0, 6, Repeating(), excluded)
    assert shard == [example for example in examples[:20] if generate.plain(example.prompt) not in excluded]
    assert len(shard) < 20


def _whole(example: Example) -> tuple[str, str]:
    """Return which family an example is of: a kind and a name."""
    is_of_its_own = example.kind in ("class", "script", "edit", "bash", "javascript")
    return example.kind if is_of_its_own else "function", example.family


@few_or_many
def test_what_is_held_out_is_never_learnt(drawn: str, request: pytest.FixtureRequest) -> None:
    drawn_examples = request.getfixturevalue(drawn)
    learnt = {_whole(example) for example in drawn_examples if example.split == "train"}
    held = {_whole(example) for example in drawn_examples if example.split in ("family", "composition")}
    assert held
    assert not held & learnt
    assert set(Counter(example.split for example in drawn_examples)) == {
        "train",
        "phrase",
        "parameter",
        "family",
        "composition",
    }


@pytest.mark.parametrize("n", [80, pytest.param(300, marks=pytest.mark.sweep)])
def test_every_composition_runs(n: int) -> None:
    r = random.Random(8)
    wrong = [problem for _ in range(n) for problem in check_families.problems(compose(r).family)]
    assert [problem for problem in wrong if "fewer than" not in problem and "whatever it is given" not in problem] == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("=== function f(x: nothing) -> int\nN a {x}\n---\nreturn x\n", "no type"),
        ("=== function f(x: int) -> int\nN a {y}\n---\nreturn x\n", "no argument"),
        ("=== function f(x: int) -> int\nN a {x}\n", "no solution"),
        ("=== function f(x: int) -> int\nlet K = 1, 2\nN a {x}\n---\nreturn x\n", "never uses <K>"),
        ("=== function f(x: int) -> int\nN a {x}\n---\nreturn x +\n", "does not parse"),
        ("=== class F\nN a thing\n---\nclass F:\n    pass\n", "without a `check`"),
        ("=== riddle f\nN a thing\n---\npass\n", "expected `=== KIND"),
    ],
)
def test_a_family_that_is_written_wrongly_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text(text)
    with pytest.raises(FamilyError, match=reason):
        read_file(path)


def test_names_are_changed_where_they_are_names_and_nowhere_else() -> None:
    source = 'def area(x, text):\n    """x"""\n    return f"{x} x {text.x}" + text["x"] + str(x)\n'
    expected = 'def size(n, text):\n    """x"""\n    return f"{n} x {text.x}" + text["x"] + str(n)\n'
    assert renamed(source, {"area": "size", "x": "n"}) == expected


def test_a_fault_changes_the_program_and_leaves_it_a_program() -> None:
    source = "def f(x):\n    return [n + 1 for n in x if n > 2]\n"
    r = random.Random(9)
    made = {faulty(source, r) for _ in range(50)}
    assert len(made) > 4
    assert all(one is not None and compile(one, "faulty", "exec") for one in made)


def test_numbers_that_parameters_leave_are_worked_out() -> None:
    assert folded("def f(x):\n    return x[3 - 1] + '3 - 1'\n") == "def f(x):\n    return x[2] + '3 - 1'\n"


@pytest.mark.parametrize(
    ("command", "does"),
    [
        ("sort them and return the first", "sorts them and returns the first"),
        ("copy a list, then reverse it", "copies a list, then reverses it"),
        ("find words and letters", "finds words and letters"),
    ],
)
def test_a_command_is_told_as_what_a_function_does(command: str, does: str) -> None:
    assert third_person(command) == does


def test_a_conversation_goes_on_from_the_models_own_answer(examples: list[Example]) -> None:
    going_on = [example for example in examples if example.earlier]
    assert {example.kind for example in going_on} == {"repair", "change", "tool_result"}
    for example in going_on:
        asked, answered = example.earlier
        text = prompt_of(generate.row_of(example))
        turns = [
            asked,
            "<|im_start|>assistant\n" + answered,
            f"<|im_start|>{example.role or 'user'}\n" + example.prompt,
        ]
        places = [text.index(turn) for turn in turns]
        assert places == sorted(places)
        assert text.endswith("<|im_start|>assistant\n")


def test_rows_hold_whole_conversations_and_every_one_of_them(tmp_path: Path, examples: list[Example]) -> None:
    lines = [json.dumps(generate.row_of(example)) for example in examples]
    (tmp_path / "train-00000.jsonl").write_text("\n".join(lines), encoding="utf-8")
    learnt = tokenizer.train(tmp_path)
    said = list(pack.conversations(tmp_path, learnt))
    short, long = pack.divided(list(said), random.Random(1))
    assert sorted(len(ids) for ids, _ in short + long) == sorted(len(ids) for ids, _ in said)
    for part, length in ((short, pack.SHORT), (long, pack.LONG)):
        rows = pack.packed(part, length, random.Random(1))
        n_tokens = sum(len(ids) for ids, _ in part)
        assert int((rows[:, 1] != pack.PADDING).sum()) == n_tokens
        ends = [row[0][row[1] != pack.PADDING][-1] for row in rows]
        assert set(ends) == {learnt.token_to_id("<|im_end|>")}


class _Swallowing:
    """What an error raised in its end does not leave, and which stops Python's tracing."""

    def __del__(self) -> None:
        for _ in range(about_code._MAX_STEPS):
            pass


def _swallow() -> None:
    _Swallowing()
    while True:
        pass


def _square() -> None:
    number = 3
    while True:
        number *= number


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("endless", [_swallow, _square])
def test_a_program_is_stopped_where_counting_its_lines_does_not(
    endless: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(about_code, "_MAX_S", 0.2)
    with pytest.raises(about_code._TooLongError), about_code.counting_lines():
        endless()
