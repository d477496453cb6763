"""What the embedded model is asked: held-out examples, newcomers' requests, MBPP and HumanEval, in one form.

A task has a conversation and what judges an answer to it. Examples are those that `training.embedded_model.generate`
wrote; the public sets lie outside of this repository. Knows nothing of engines and sandboxes.
"""

import gzip
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.models.learnt import UNSEEN, known_wholes, learnt_in, rows_of, said_in, whole_of
from mcp_server.engine.types import Message, Tool
from tests.newcomers.newcomer_requests import NewcomerRequest, newcomer_requests

PROGRAMS: Final = ("function", "class", "script", "edit", "bash", "javascript")
FAMILIES_KNOWN: Final = ("phrase", "parameter", "composition")
MBPP_FILE: Final = "mbpp_sanitized/mbpp/sanitized-mbpp.json"
HUMAN_EVAL_FILE: Final = "humaneval/data/HumanEval.jsonl.gz"
_SEED: Final = 11  # which of the held-out examples are taken


@dataclass(frozen=True)
class Check:
    """How an answer is judged; one kind is given.

    `tests` run after the answer's program, which is called `candidate` where they ask for it: it is `name`, or what is
    defined last. `runs` are what a script reads and prints. Tests that are the answer pass for `subject` and fail for
    `wrong`. `expected` stands in a text. A `call` is the tool's call that is wanted, as JSON. A `newcomer` has a judge
    of their own. `head` stands before an answer.
    """

    language: str = "python"
    tests: tuple[str, ...] = ()
    name: str = ""
    head: str = ""
    runs: tuple[tuple[str, str], ...] = ()
    subject: str = ""
    wrong: str = ""
    expected: str = ""
    refusal: bool = False
    call: str = ""
    is_json: bool = False
    newcomer: NewcomerRequest | None = None


@dataclass(frozen=True)
class Task:
    """One request and its check; `split` and `kind` say which rows of the table it counts for."""

    split: str
    kind: str
    messages: tuple[Message, ...]
    check: Check
    tools: tuple[Tool, ...] = ()


def held_out(folder: Path, most: int, known: frozenset[str] = frozenset()) -> list[Task]:
    """Read the held-out examples, at most so many of each split and kind.

    A request that is learnt word for word is left out, and families and compositions with a program that is learnt.

    Args:
        folder: of the generator's shards.
        most: tasks of one split and kind.
        known: families that were held out but that a family in training does as well; they are left out.
    """
    found: dict[tuple[str, str], list[Task]] = {}
    learnt, held = learnt_in(folder), list(rows_of(folder, "held"))
    wholes, seen = known_wholes(held, learnt), set(learnt.requests)
    for row in held:
        is_known = row["split"] in UNSEEN and (whole_of(row) in wholes or row["family"] in known)
        said = said_in(row)
        if said in seen or is_known or not _is_judged(row):
            continue
        seen.add(said)
        found.setdefault((row["split"], row["kind"]), []).append(_task(row))
    r = random.Random(_SEED)  # noqa: S311 - draws tasks, not secrets
    picked = [r.sample(tasks, min(most, len(tasks))) for _, tasks in sorted(found.items())]
    return list(itertools.chain.from_iterable(picked))


def _is_judged(row: dict[str, Any]) -> bool:
    """Say whether an answer can be judged: an explanation in words cannot, nor can what has nothing to hold against."""
    return row["kind"] != "meaning" and any(row.get(key) for key in ("tests", "runs", "subject", "expected"))


def _task(row: dict[str, Any]) -> Task:
    system = (Message("system", row["system"]),) if row.get("system") else ()
    is_call = row["kind"] == "tool"
    check = Check(
        language=row.get("language", ""),
        tests=tuple(row.get("tests", ())),
        name="" if row.get("free_name") else row.get("name", ""),
        runs=tuple((given, printed) for given, printed in row.get("runs", ())),
        subject=row.get("subject", ""),
        wrong=row.get("wrong", ""),
        expected="" if is_call or row["kind"] == "refusal" else row.get("expected", ""),
        refusal=row["kind"] == "refusal",
        call=row["expected"] if is_call else "",
        is_json=row["kind"] == "json",
    )
    tools = tuple(Tool(**tool) for tool in row.get("tools", ()))
    earlier = (Message(("user", "assistant")[i % 2], text) for i, text in enumerate(row.get("earlier", ())))
    return Task(
        row["split"], row["kind"], (*system, *earlier, Message(row.get("role") or "user", row["prompt"])), check, tools
    )


def newcomers(most: int) -> list[Task]:
    """Return what newcomers ask, as they type it."""
    return [
        Task("newcomers", "newcomer", (Message("user", one.text),), Check(newcomer=one))
        for one in newcomer_requests()[:most]
    ]


def mbpp(path: Path, most: int) -> list[Task]:
    """Read sanitized MBPP, with its tests in the prompt, as those who made it give them."""
    rows = json.loads(path.read_text(encoding="utf-8"))[:most]
    return [_of_mbpp(row) for row in rows]


def _of_mbpp(row: dict[str, Any]) -> Task:
    tests = "\n".join(row["test_list"])
    text = f"{row['prompt']}\n\nIt must pass these tests:\n{tests}"
    check = Check(tests=(*row["test_imports"], *row["test_list"]))
    return Task("mbpp", "function", (Message("user", text),), check)


def human_eval(path: Path, most: int) -> list[Task]:
    """Read HumanEval: a signature with its docstring, to be completed."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:most]
    return [_of_human_eval(row) for row in rows]


def _of_human_eval(row: dict[str, Any]) -> Task:
    text = f"Complete this function:\n```python\n{row['prompt'].rstrip()}\n```"
    tests = (row["test"], f"check({row['entry_point']})")
    check = Check(tests=tests, head=f"{row['prompt'].rstrip()}\n    pass\n\n")
    return Task("humaneval", "function", (Message("user", text),), check)


@dataclass(frozen=True)
class Row:
    """One line of the table: which tasks it is about."""

    title: str
    is_in: Callable[[Task], bool]


def rows() -> list[Row]:
    """Return the lines of the table, in their order."""
    titles = {
        "phrase": "unseen phrasings",
        "parameter": "unseen parameters",
        "composition": "unseen compositions",
        "family": "unseen families",
    }
    table = [Row(title, _programs_of(split)) for split, title in titles.items()]
    kinds = (*PROGRAMS, "change", "repair", "tests", "json", "question", "tool", "tool_result", "refusal")
    table += [Row(f"{kind}, families known", _kind_of(kind, FAMILIES_KNOWN)) for kind in kinds]
    table += [
        Row(f"{kind}, unseen families", _kind_of(kind, ("family",))) for kind in kinds if not kind.startswith("tool")
    ]
    names = {"newcomers": "newcomers' requests", "mbpp": "MBPP, sanitized", "humaneval": "HumanEval"}
    return table + [Row(title, _all_of(split)) for split, title in names.items()]


def _all_of(split: str) -> Callable[[Task], bool]:
    return lambda task: task.split == split


def _programs_of(split: str) -> Callable[[Task], bool]:
    return lambda task: task.split == split and task.kind in PROGRAMS


def _kind_of(kind: str, splits: tuple[str, ...]) -> Callable[[Task], bool]:
    return lambda task: task.kind == kind and task.split in splits
