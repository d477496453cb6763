"""What was compiled is kept, found again for exactly the same input, and never more than the setting allows."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import commands
from sandbox.builds import Builder, _Cache
from sandbox.errors import ExecutionCancelledError, ToolchainMissingError
from sandbox.recipes import Recipe, Step
from sandbox.runner import Sandbox
from sandbox.types import Limits
from tests.sandbox.machine import Runner, settings_with
from tests.sandbox.programs import SAMPLES

LIMITS = Limits()


@pytest.fixture
def builder(shared: Sandbox, tmp_path: Path) -> Builder:
    """A builder with an empty cache in `tmp_path`."""
    return Builder(settings_with(tmp_path), shared._ready(), shared._toolchains)


def recipe(**fields: object) -> Recipe:
    return replace(commands.c({"solution.c": "int main(void) { return 0; }\n"}, LIMITS), **fields)


def test_the_same_source_is_compiled_once(builder: Builder) -> None:
    first, second = builder.build(recipe()), builder.build(recipe())
    assert (first.is_ok, first.was_cached) == (True, False)
    assert (second.is_ok, second.was_cached) == (True, True)
    assert first.artefacts == second.artefacts != b""


def test_a_new_builder_finds_what_another_one_kept(builder: Builder, shared: Sandbox, tmp_path: Path) -> None:
    builder.build(recipe())
    other = Builder(settings_with(tmp_path), shared._ready(), shared._toolchains)
    assert other.build(recipe()).was_cached


@pytest.mark.parametrize(
    "other",
    [
        recipe(steps=(Step((*recipe().steps[0].argv, "-O2")),)),
        recipe(files={"solution.c": "int main(void) { return 1; }\n"}),
        recipe(files={**recipe().files, "data.txt": "x"}),
        recipe(environment={"SOURCE_DATE_EPOCH": "1"}),
        recipe(toolchain="gcc bash"),
    ],
    ids=["flags", "source", "file", "environment", "toolchain"],
)
def test_whatever_shapes_a_program_is_part_of_its_key(other: Recipe, builder: Builder) -> None:
    builder.build(recipe())
    assert not builder.build(other).was_cached


def test_another_version_of_the_compiler_means_another_program(builder: Builder, shared: Sandbox) -> None:
    builder.build(recipe())
    tools = shared._toolchains
    gcc = tools.find("gcc")
    assert gcc is not None
    tools._found["gcc"] = replace(gcc, version="gcc 99.0")
    try:
        assert not builder.build(recipe()).was_cached
    finally:
        tools._found["gcc"] = gcc


def test_a_program_from_the_cache_runs_as_when_it_was_new(run: Runner) -> None:
    results = [run(SAMPLES["c"].echo, language="c", stdin=text) for text in ("a", "b")]
    assert [result.stdout for result in results] == ["hi é\na", "hi é\nb"]


def test_a_failed_build_is_not_kept(builder: Builder, tmp_path: Path) -> None:
    broken = recipe(files={"solution.c": "int main(void) { return 0 }\n"})
    assert not builder.build(broken).is_ok
    assert not builder.build(broken).is_ok
    assert not list(tmp_path.rglob("*.build"))


def test_a_build_without_its_artefact_failed(builder: Builder) -> None:
    build = builder.build(recipe(steps=(Step(("bash", "-c", "true")),)))
    assert (build.is_ok, build.artefacts) == (False, None)
    with pytest.raises(ValueError, match="a failed build cannot be run"):
        builder.command(recipe(), build, LIMITS)


def test_a_damaged_entry_is_compiled_again(builder: Builder, tmp_path: Path) -> None:
    builder.build(recipe())
    (kept,) = tmp_path.rglob("*.build")
    kept.write_bytes(kept.read_bytes()[:-1] + b"\xff")
    assert not builder.build(recipe()).was_cached
    assert builder.build(recipe()).was_cached


def test_steps_run_in_order_and_the_first_that_fails_ends_them(builder: Builder) -> None:
    def steps(*scripts: str) -> tuple[Step, ...]:
        return tuple(Step(("bash", "-c", script)) for script in scripts)

    build = builder.build(recipe(steps=steps("echo one", "echo two; exit 7", "echo three")))
    assert build.said() == "one\ntwo\n"
    assert [record["status"] for record in build.outcome.records if record["event"] == "step"] == [0, 7]


def test_a_cancelled_compilation_is_killed(builder: Builder) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(ExecutionCancelledError):
        builder.build(recipe(steps=(Step(("bash", "-c", "sleep 60")),)), None, cancelled)


def test_a_step_that_cannot_be_started_is_told(builder: Builder) -> None:
    build = builder.build(recipe(steps=(Step(("no-such-compiler",)),)))
    record = build.outcome.find("not_started")
    assert record is not None
    assert (record["name"], record["message"]) == ("no-such-compiler", "No such file or directory")


def test_a_command_may_have_a_channel_for_events(builder: Builder) -> None:
    script = Recipe({"s.sh": "echo out; echo event >&3; exec 3>&-; echo more\n"}, (), (), ("bash", "s.sh"), "bash")
    job = builder.command(script, builder.build(script), LIMITS, has_events=True)
    outcome = builder.run(job)
    assert (outcome.stdout, outcome.events, outcome.exit_code) == (b"out\nmore\n", b"event\n", 0)


def test_a_command_without_the_channel_has_no_descriptor_but_the_three(builder: Builder) -> None:
    script = Recipe({"s.sh": "ls /proc/$$/fd\n"}, (), (), ("bash", "s.sh"), "bash")
    outcome = builder.run(builder.command(script, builder.build(script), LIMITS))
    assert outcome.stdout.split()[:3] == [b"0", b"1", b"2"]
    assert not {b"3", b"4", b"5"} & set(outcome.stdout.split())


@pytest.fixture
def missing_go(shared: Sandbox) -> Iterator[None]:
    found = shared._toolchains.find("go")
    shared._toolchains._found["go"] = None
    yield
    shared._toolchains._found["go"] = found


def test_a_missing_toolchain_is_an_error_that_names_the_package(run: Runner, missing_go: None) -> None:
    del missing_go
    with pytest.raises(ToolchainMissingError, match="apt-get install golang-go"):
        run(SAMPLES["go"].echo, language="go")
    with pytest.raises(ToolchainMissingError, match="apt-get install golang-go"):
        run.sandbox.check_syntax(SAMPLES["go"].echo, "go")
    assert next(found for found in run.sandbox.languages() if found.name == "go").version is None


# -- the cache alone ---------------------------------------------------------------------------------------------------


def test_the_least_recently_used_entry_makes_room(tmp_path: Path) -> None:
    cache = _Cache(tmp_path, 1000)
    for name in "abcd":
        cache.write(name, bytes(200))
    assert cache.read("a") is not None  # used last now
    cache.write("e", bytes(200))
    assert [name for name in "abcde" if cache.read(name) is None] == ["b"]


@pytest.mark.parametrize(("max_bytes", "size", "n_kept"), [(0, 1, 0), (1000, 250, 1), (1000, 251, 0)])
def test_what_would_fill_a_quarter_of_the_cache_is_not_kept(
    max_bytes: int, size: int, n_kept: int, tmp_path: Path
) -> None:
    cache = _Cache(tmp_path, max_bytes)
    cache.write("a", bytes(size))
    assert len(list(tmp_path.iterdir())) == n_kept


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    cache = _Cache(tmp_path, 1000)
    cache.write("a", b"x")
    cache.write("a", b"y")
    assert cache.read("a") == b"y"
    assert [path.name for path in tmp_path.iterdir()] == ["a.build"]
