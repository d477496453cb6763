"""How well retrieval finds code: NDCG@10, Recall@10 and MRR of ours, of its two halves alone and of semble, in one run.

Two sets of questions about pinned packages: `docstrings`, where a first sentence must find its function in files whose
docstrings were taken out, and `questions`, asked in natural language and answered by spans or files. Each question goes
to the index of its own package, and every system indexes the same files. What the ranking was tuned on is told apart
from what it was not (`part` in packages.jsonl). A difference is shown with the 95 % interval
of a bootstrap over questions. Packages that cannot be fetched here are left out and named. Embeddings are kept, so a
second run takes a minute. It ends with 1 when a claim does not hold. `--quick` takes seven small packages.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.retrieval_packages import Package, cache, fetch, folder_of, packages
from benchmarks.peers.retrieval_scores import Score, difference, mean, score
from benchmarks.peers.retrieval_sets import Question, questions_about

DOCSTRINGS, QUESTIONS = SETS = ("docstrings", "questions")
QUICK = ("requests", "httpx", "express", "ws", "mux", "fd-find", "password-store")
MIN_DOCSTRINGS = 0.69  # NDCG@10


@dataclass
class Asked:
    """What each system scored, question by question, in one order."""

    questions: list[Question] = field(default_factory=list)
    scores: dict[str, list[Score]] = field(default_factory=dict)
    index_s: dict[str, float] = field(default_factory=dict)
    search_s: dict[str, float] = field(default_factory=dict)

    def of(self, rows: list[int], system: str) -> list[Score]:
        """Pick some of one system's scores."""
        return [self.scores[system][row] for row in rows]

    def rows(self, **fields: str) -> list[int]:
        """Find the questions whose package or language it is."""
        return [
            row
            for row, question in enumerate(self.questions)
            if all(getattr(question, name) == value for name, value in fields.items())
        ]


def measure(wanted: list[Package], home: Path) -> Asked:
    """Index each package in each system, and ask its questions."""
    from benchmarks.peers.retrieval_systems import systems  # noqa: PLC0415 - loads torch; --help need not

    asked = Asked()
    with systems(home) as made:
        for package in wanted:
            questions = questions_about(package)
            asked.questions += questions
            for title, system in made.items():
                started_s = time.perf_counter()
                system.index(folder_of(package))
                indexed_s = time.perf_counter()
                found = [score(system.search(question.text), question.answers) for question in questions]
                asked.scores.setdefault(title, []).extend(found)
                asked.index_s[title] = asked.index_s.get(title, 0) + indexed_s - started_s
                asked.search_s[title] = asked.search_s.get(title, 0) + time.perf_counter() - indexed_s
            print(f"asked {len(questions):4} questions about {package.name}", file=sys.stderr, flush=True)
    return asked


def sets_of(there: list[Package], asked: Asked) -> dict[str, list[int]]:
    """Name the sets that are shown, and their questions.

    `docstrings` are the four packages of the design, all of them tuned on; `questions` are all that were written.
    """
    members = {
        DOCSTRINGS: ("docstrings", ("tuning",)),
        "docstrings, held out": ("docstrings", ("held-out",)),
        QUESTIONS: ("questions", ("tuning", "held-out")),
        "questions, tuned on": ("questions", ("tuning",)),
        "questions, held out": ("questions", ("held-out",)),
    }
    return {
        name: [
            row
            for package in there
            if package.set == of and package.part in parts
            for row in asked.rows(package=package.name)
        ]
        for name, (of, parts) in members.items()
    }


def summarise(asked: Asked, sets: dict[str, list[int]]) -> list[dict[str, Any]]:
    """Average each system over each set, and compare ours with it."""
    ours = next(iter(asked.scores))
    table = []
    for name, rows in sets.items():
        for system in asked.scores:
            pairs = zip(asked.of(rows, ours), asked.of(rows, system), strict=True)
            ndcg = [(mine.ndcg, other.ndcg) for mine, other in pairs]
            over = difference([mine for mine, _ in ndcg], [other for _, other in ndcg])
            means = asdict(mean(asked.of(rows, system)))
            table.append({"set": name, "system": system, "n": len(rows), **means, "ours_over_it": asdict(over)})
    return table


def judge(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hold the figures against what is claimed."""
    found = []
    for row in table:
        is_semble = row["system"].startswith("semble")
        if row["set"] == DOCSTRINGS and row["system"] == "ours":
            claim = f"docstring to function, NDCG@10 of ours at least {MIN_DOCSTRINGS}"
            found.append({"claim": claim, "value": row["ndcg"], "holds": row["ndcg"] >= MIN_DOCSTRINGS})
        elif row["set"] == QUESTIONS and is_semble:
            over = row["ours_over_it"]
            claim = f"questions, NDCG@10 of ours at least that of {row['system']}"
            found.append({"claim": claim, "value": over["mean"], "interval": over, "holds": over["mean"] >= 0})
    return found


def show(asked: Asked, table: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    """Print the tables and the claims."""
    title = ""
    for row in table:
        if row["set"] != title:
            title = row["set"]
            print(f"\n{title}, {row['n']} questions\n{'':32}{'NDCG@10':>9}{'Recall@10':>11}{'MRR':>8}   ours less it")
        over = row["ours_over_it"]
        compared = "" if row["system"] == "ours" else f"{over['mean']:+.3f} ({over['low']:+.3f} to {over['high']:+.3f})"
        print(f"{row['system']:32}{row['ndcg']:9.3f}{row['recall']:11.3f}{row['mrr']:8.3f}   {compared}")
    print(f"\n{'NDCG@10 by package':30}{'n':>5}" + "".join(f"{_short(system):>16}" for system in asked.scores))
    for name in dict.fromkeys(question.package for question in asked.questions):
        rows = asked.rows(package=name)
        figures = "".join(f"{mean(asked.of(rows, system)).ndcg:16.3f}" for system in asked.scores)
        print(f"{name:30}{len(rows):5}{figures}")
    n = len(asked.questions)
    for system, seconds in asked.search_s.items():
        print(f"{system}: indexed in {asked.index_s[system]:.1f} s, {1000 * seconds / n:.1f} ms a question")
    print()
    for claim in found:
        spread = (
            f" ({claim['interval']['low']:+.3f} to {claim['interval']['high']:+.3f})" if "interval" in claim else ""
        )
        print(f"{'holds' if claim['holds'] else 'FAILS'}  {claim['value']:+.3f}{spread}  {claim['claim']}")


def _short(system: str) -> str:
    """Shorten a title to a column."""
    name, _, model = system.partition(", ")
    return f"{name.split()[0]}, {model.split()[-1]}"[:15] if model else name


def main() -> None:
    """Measure, print, and write the numbers where they are wanted; ends with 1 when a claim fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--packages", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--home", type=Path, default=cache() / "home", help="where embeddings are kept")
    options = parser.parse_args()
    names = options.packages or (QUICK if options.quick else [package.name for package in packages()])
    wanted = [package for package in packages() if package.name in names and package.set in options.sets]
    there = fetch(wanted)
    if not there:
        raise SystemExit("none of the packages is here or can be fetched")
    asked = measure(there, options.home)
    sets = sets_of(there, asked)
    table = summarise(asked, {name: rows for name, rows in sets.items() if rows})
    found = judge(table)
    show(asked, table, found)
    missing = [package.name for package in wanted if package not in there]
    print(*(f"left out, it could not be fetched: {name}" for name in missing), sep="\n")
    if options.json:
        each = {
            question.id: {system: asdict(asked.scores[system][row]) for system in asked.scores}
            for row, question in enumerate(asked.questions)
        }
        report = {"table": table, "claims": found, "missing": missing, "questions": each}
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    sys.exit(not all(claim["holds"] for claim in found))


if __name__ == "__main__":
    main()
