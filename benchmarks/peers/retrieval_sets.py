"""The two sets of questions, each about one package: docstring to function, and natural language to span or file.

Questions of the first set are made from the unmodified archive, so that their spans fit the stripped files. Knows
nothing of the systems that are asked.
"""

import random
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from benchmarks.peers.docstrings import documented_functions
from benchmarks.peers.retrieval_packages import QUESTIONS, Package, archive_of, is_wanted, read_lines

# A package's share of the first set, so that the largest (2,000 documented functions) is not most of it (questions).
DOCSTRINGS_PER_PACKAGE: Final = 150

_SEED: Final = 5


@dataclass(frozen=True)
class Answer:
    """A span that answers a question; without lines, all of the file."""

    path: str
    start_line: int | None = None
    end_line: int | None = None

    def is_met_by(self, path: str, start_line: int, end_line: int) -> bool:
        """Tell whether a hit's span has a line in common with this one."""
        if path != self.path:
            return False
        if self.start_line is None or self.end_line is None:
            return True
        return start_line <= self.end_line and end_line >= self.start_line


@dataclass(frozen=True)
class Question:
    """One question, and all that answers it."""

    id: str
    package: str
    language: str
    text: str
    answers: tuple[Answer, ...]


def questions_about(package: Package) -> list[Question]:
    """Return the package's questions."""
    return _docstring_questions(package) if package.set == "docstrings" else _written_questions(package)


def _written_questions(package: Package) -> list[Question]:
    return [
        Question(
            row["id"], package.name, row["language"], row["question"], tuple(Answer(**one) for one in row["answers"])
        )
        for row in read_lines(QUESTIONS / f"{package.language}.jsonl")
        if row["package"] == package.name
    ]


def _docstring_questions(package: Package) -> list[Question]:
    """Ask for each documented function by its first sentence, where no other function has the same one."""
    found: list[tuple[str, Answer]] = []
    with tarfile.open(archive_of(package)) as source:
        for member in source:
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            content = source.extractfile(member) if member.isfile() and is_wanted(package, path) else None
            if content is not None:
                found.extend(
                    (one.sentence, Answer(str(path), one.start_line, one.end_line))
                    for one in documented_functions(content.read())
                )
    times = Counter(sentence.casefold() for sentence, _ in found)
    alone = sorted(
        (answer.path, answer.start_line, text, answer) for text, answer in found if times[text.casefold()] == 1
    )
    chosen = random.Random(_SEED).sample(alone, min(DOCSTRINGS_PER_PACKAGE, len(alone)))  # noqa: S311 - a fixed choice
    return [
        Question(f"{package.name}-{number:03}", package.name, "python", text, (answer,))
        for number, (_, _, text, answer) in enumerate(chosen, 1)
    ]
