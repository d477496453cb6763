"""The question files say what they should, and every answer lies in the package that it is about."""

import re
from pathlib import Path

import pytest

from benchmarks.peers.retrieval_packages import (
    LANGUAGES,
    QUESTIONS,
    Package,
    archive_of,
    folder_of,
    packages,
    read_lines,
)
from benchmarks.peers.retrieval_sets import questions_about
from rag.sparse import split_words

PACKAGES = packages()
ASKED = [package for package in PACKAGES if package.set == "questions"]
ROWS = [row for file in sorted(QUESTIONS.glob("*.jsonl")) if file.stem in LANGUAGES for row in read_lines(file)]
FIELDS = {"id", "package", "language", "question", "answers"}

_IDENTIFIER = re.compile(r"\w+")


def test_there_are_enough_questions_in_enough_languages() -> None:
    assert len(ROWS) >= 150
    assert len({row["language"] for row in ROWS}) >= 5


def test_every_question_has_the_documented_fields_and_an_id_of_its_own() -> None:
    assert len({row["id"] for row in ROWS}) == len({row["question"] for row in ROWS}) == len(ROWS)
    language_of = {package.name: package.language for package in ASKED}
    for row in ROWS:
        assert set(row) == FIELDS, row["id"]
        assert row["language"] == language_of[row["package"]], row["id"]
        assert row["id"].startswith(f"{row['package']}-"), row["id"]
        assert len(row["question"].split()) >= 3, row["id"]


def test_every_answer_is_a_file_or_a_span_of_one() -> None:
    for row in ROWS:
        assert row["answers"], row["id"]
        for answer in row["answers"]:
            assert set(answer) in ({"path"}, {"path", "start_line", "end_line"}), row["id"]
            assert not answer["path"].startswith(("/", ".")), row["id"]
            assert 1 <= answer.get("start_line", 1) <= answer.get("end_line", 1), row["id"]


def test_every_package_is_pinned_and_has_questions() -> None:
    assert len({package.name for package in PACKAGES}) == len({package.sha256 for package in PACKAGES}) == len(PACKAGES)
    assert {row["package"] for row in ROWS} == {package.name for package in ASKED}
    for package in PACKAGES:
        assert len(package.sha256) == 64, package.name
        assert package.licence, package.name
        assert package.version in package.file, package.name


def test_each_set_keeps_packages_that_nothing_was_tuned_on() -> None:
    for name in ("docstrings", "questions"):
        parts = [package.part for package in PACKAGES if package.set == name]
        assert set(parts) == {"tuning", "held-out"}
    held_out = [row for row in ROWS if row["package"] in {one.name for one in ASKED if one.part == "held-out"}]
    assert len(held_out) >= 100
    assert len({row["language"] for row in held_out}) >= 5


@pytest.mark.parametrize("package", ASKED, ids=lambda package: package.name)
def test_every_answer_is_in_the_package_and_its_name_is_not_in_the_question(package: Package) -> None:
    folder = folder_of(package)
    if not folder.exists():
        pytest.skip("the package was not fetched; python -m benchmarks.peers.retrieval_packages fetches it")
    for question in questions_about(package):
        for answer in question.answers:
            lines = _lines(folder / answer.path)
            last = answer.end_line or len(lines)
            assert last <= len(lines), question.id
            span = lines[(answer.start_line or 1) - 1 : last]
            assert any(line.strip() for line in span), question.id
            head = span[0] if answer.start_line else ""
            joined = {word for word in _IDENTIFIER.findall(head) if len(split_words(word)) > 1}
            assert not {word for word in joined if word.casefold() in question.text.casefold()}, question.id


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").split("\n")


@pytest.mark.parametrize("name", ["flask", "requests"])
def test_a_docstring_question_asks_for_a_function_that_no_longer_says_it(name: str) -> None:
    package = next(package for package in PACKAGES if package.name == name)
    if not folder_of(package).exists() or not archive_of(package).exists():
        pytest.skip("the package was not fetched; python -m benchmarks.peers.retrieval_packages fetches it")
    questions = questions_about(package)
    assert len(questions) > 100
    for question in questions:
        (answer,) = question.answers
        span = _lines(folder_of(package) / answer.path)[(answer.start_line or 1) - 1 : answer.end_line]
        assert span[0].strip().startswith(("def ", "async def ", "@")), question.id
        assert question.text not in " ".join("\n".join(span).split()), question.id
