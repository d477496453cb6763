"""What an index costs, and how soon a change is found: each figure beside a peer or plain work, in one run.

Trees are copies of the Python files of this environment, none longer than a page or two. Each round takes a side and
its peer one right after the other. Document vectors are made up, since another program measures embedding; a query is
embedded by the real model, and the time counts. `stolen` is what the machine's host gave to others meanwhile. Sides
whose tool is not installed are left out and named. It ends with 1 when a claim does not hold. `--quick` is smaller.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.peers.machine import watching_host
from rag.dense import DenseIndex
from rag.embedding import Embedder, SentenceTransformerEmbedder, Vectors
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.sparse import split_words
from rag.static_embedding import StaticEmbedder
from rag.types import IndexRequest, RetrieveRequest

GIT = shutil.which("git") or "git"
MIN_BYTES, MAX_BYTES = 200, 1_300  # of a file that is taken into a tree: some two chunks each
DIMENSIONS = 384
TOPICS = 2_000  # centres of made-up vectors: real ones lie in groups too
QUERIES = (
    "parse an HTTP header", "open a socket with a timeout", "read_file", "convert a date to ISO format",
    "class that retries failed requests", "raise an error when the argument is negative", "ThreadPoolExecutor",
    "where are the settings loaded from", "escape html", "split a path into its parts", "sort by several keys",
    "how are plugins registered", "compute a checksum of a file", "deprecated alias", "matrix multiplication",
    "test that an exception is raised", "encode bytes as base64", "command line arguments",
    "cache the result of a call", "walk a directory tree",
)  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """How much of everything one run takes."""

    small_files: int = 1_000
    large_files: int = 10_000
    query_files: int = 7_100  # some 20,000 chunks
    vectors: int = 1_000_000
    rounds: int = 8
    queries: int = 200


QUICK = Sizes(small_files=300, large_files=2_000, query_files=1_400, vectors=100_000, rounds=3, queries=40)


@dataclass
class Figures:
    """Seconds of each side, in the order of rounds, and what is told beside them."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def take(self, side: str, work: Callable[[], object]) -> None:
        """Do some work once, and keep how long it took."""
        started_s = time.perf_counter()
        work()
        self.seconds.setdefault(side, []).append(time.perf_counter() - started_s)


class MadeUp:
    """Vectors in groups for texts to index, and the real model's for queries."""

    def __init__(self, model: Embedder) -> None:
        """Begin with indexing."""
        self.name = f"made up, {model.name}"
        self.dimensions = DIMENSIONS
        self.is_asking = False
        self._model = model
        self._numbers = np.random.default_rng(5)
        self._topics = self._numbers.standard_normal((TOPICS, DIMENSIONS), dtype=np.float32)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed a query for real, and anything else at random."""
        return self._model.embed(texts) if self.is_asking else self.made(len(texts))

    def made(self, n: int) -> Vectors:
        """Make up `n` vectors."""
        vectors = self._topics[self._numbers.integers(TOPICS, size=n)]
        vectors += 0.7 * self._numbers.standard_normal(vectors.shape, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


def write_tree(root: Path, n_files: int) -> None:
    """Copy files of this environment, and copy them again under other names until there are enough."""
    library = Path(sysconfig.get_paths()["purelib"])
    found = (file for file in sorted(library.rglob("*.py")) if MIN_BYTES <= file.stat().st_size <= MAX_BYTES)
    files = list(islice(found, n_files))
    for number in range(n_files):
        turn, source = divmod(number, len(files))
        target = root / f"copy_{turn}" / files[source].relative_to(library)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = files[source].read_text(encoding="utf-8", errors="replace")
        target.write_text(f"{text}\n# copy {turn}\n" if turn else text, encoding="utf-8")


def git(root: Path, *arguments: str) -> None:
    """Run git on a tree, whatever it answers."""
    identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    subprocess.run([GIT, "-C", str(root), *identity, *arguments], check=False, capture_output=True)


@contextmanager
def opened(folder: Path, embedder: Embedder) -> Iterator[Retrieval]:
    """Open a home of its own, large enough for what is measured."""
    settings = RagSettings(home=folder)
    retrieval = Retrieval(settings, embedder, StaticEmbedder())
    try:
        yield retrieval
    finally:
        retrieval.close()


def ask(retrieval: Retrieval, query: str, collection: str = "c") -> list[str]:
    """Return the paths that a query finds."""
    return [hit.path for hit in retrieval.retrieve(RetrieveRequest(collection, query)).hits]


def plain_bm25(root: Path, query: str) -> list[str]:
    """Read every file, count its words and rank by BM25, as one would without an index."""
    bags = {str(file): Counter(split_words(file.read_text("utf-8", "replace"))) for file in root.rglob("*.py")}
    lengths = {path: bag.total() for path, bag in bags.items()}
    mean = sum(lengths.values()) / len(lengths)
    scores: Counter[str] = Counter()
    for word in split_words(query):
        having = {path: bag[word] for path, bag in bags.items() if word in bag}
        rarity = math.log1p((len(bags) - len(having) + 0.5) / (len(having) + 0.5))
        for path, times in having.items():
            scores[path] += rarity * times * 2.2 / (times + 1.2 * (0.4 + 0.6 * lengths[path] / mean))  # type: ignore[assignment] # a Counter of floats
    return [path for path, _ in scores.most_common(10)]


def semble(root: Path) -> None:
    """Index and ask with the best open peer. Raises OSError or ImportError when it or its model is not here."""
    from semble import SembleIndex  # noqa: PLC0415 - not installed everywhere

    SembleIndex.from_path(root).search(QUERIES[0], top_k=10)


def measure_first(sizes: Sizes, folder: Path, figures: Figures) -> None:
    """Time from nothing to the first answer."""
    root = folder / "small"
    write_tree(root, sizes.small_files)
    for number in range(min(3, sizes.rounds)):
        with opened(folder / f"first_{number}", SentenceTransformerEmbedder(RagSettings())) as retrieval:
            request = IndexRequest("c", root=str(root), wait_for_dense=False)
            figures.take("first answer", lambda r=retrieval, q=request: (r.index(q), ask(r, QUERIES[0])))  # type: ignore[misc] # bound
        figures.take("plain read and BM25", lambda: plain_bm25(root, QUERIES[0]))
        try:
            figures.take("semble", lambda: semble(root))
        except (ImportError, OSError) as error:
            figures.left_out.append(f"semble, which is not here with its model: {type(error).__name__}")


def measure_large(sizes: Sizes, folder: Path, figures: Figures) -> None:
    """Index a large tree; time its syncs, and queries of it."""
    root = folder / "large"
    write_tree(root, sizes.large_files)
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "all"), ("status", "--porcelain")):
        git(root, *command)
    request = IndexRequest("c", root=str(root))
    made_up = MadeUp(SentenceTransformerEmbedder(RagSettings()))
    with opened(folder / "home", made_up) as retrieval:
        started_s = time.perf_counter()
        report = retrieval.index(request)
        figures.told["large tree: chunks"] = n_chunks = report.n_chunks
        figures.told["large tree: made from nothing, s"] = time.perf_counter() - started_s
        on_disk = sum(file.stat().st_size for file in (folder / "home/rag/collections").rglob("*") if file.is_file())
        figures.told["index bytes a chunk"] = on_disk / n_chunks
        n_text = sum(file.stat().st_size for file in root.rglob("*.py"))
        figures.told["text bytes a chunk"] = n_text / n_chunks
        measure_changes(sizes, retrieval, root, figures)
        measure_queries(sizes, retrieval, made_up, figures, "c")
        made_up.is_asking = False
        write_tree(folder / "queried", sizes.query_files)
        report = retrieval.index(IndexRequest("queried", root=str(folder / "queried")))
        figures.told["queried tree: chunks"] = report.n_chunks
        measure_queries(sizes, retrieval, made_up, figures, "queried")


def measure_changes(sizes: Sizes, retrieval: Retrieval, root: Path, figures: Figures) -> None:
    """Time a sync of a tree that did not change, and of one in which a file did."""
    request = IndexRequest("c", root=str(root))
    edited = next(root.rglob("*.py"))
    for number in range(sizes.rounds):
        _let_stats_settle(retrieval, request)
        figures.take("no change", lambda: retrieval.index(request))
        figures.take("git status", lambda: git(root, "status", "--porcelain"))
        word = f"zebra{number}quagga"
        edited.write_text(f"{edited.read_text(encoding='utf-8')}\n\ndef {word}():\n    return 1\n", "utf-8")
        figures.take("edited file found", lambda w=word: _find_edit(retrieval, root, w))  # type: ignore[misc] # bound
        figures.take("git grep", lambda w=word: git(root, "grep", "-l", w))  # type: ignore[misc] # bound


def _let_stats_settle(retrieval: Retrieval, request: IndexRequest) -> None:
    """Wait until a sync trusts the stat of every file, as it does two seconds after an edit."""
    time.sleep(2.1)
    retrieval.index(request)


def _find_edit(retrieval: Retrieval, root: Path, word: str) -> None:
    retrieval.index(IndexRequest("c", root=str(root), wait_for_dense=False))
    hits = retrieval.retrieve(RetrieveRequest("c", word, max_results=3)).hits
    if not any(word in hit.text for hit in hits):
        raise SystemExit("the edited file was not found")


def measure_queries(sizes: Sizes, retrieval: Retrieval, made_up: MadeUp, figures: Figures, collection: str) -> None:
    """Time queries, and the least that any of them must do: embed, and multiply by all vectors."""
    matrix = made_up.made(retrieval.index_status(collection).n_chunks)
    where = "" if collection == "queried" else ", large tree"
    made_up.is_asking = True
    for query in (*QUERIES, *QUERIES):
        ask(retrieval, query, collection)  # loads the model, fills the page cache

    def multiply(query: str) -> None:
        np.argpartition(-(matrix @ made_up.embed([query])[0]), 10)

    # One thread of BLAS: the others spin for a while after a product and would take a core from what is timed next.
    with threadpool_limits(1, user_api="blas"):
        for number in range(sizes.queries):
            query = QUERIES[number % len(QUERIES)]
            figures.take(f"query{where}", lambda q=query: ask(retrieval, q, collection))  # type: ignore[misc] # bound
            figures.take(f"embed and matmul{where}", lambda q=query: multiply(q))  # type: ignore[misc] # bound
            figures.take(f"embed alone{where}", lambda q=query: made_up.embed([q]))  # type: ignore[misc] # bound


def measure_vectors(sizes: Sizes, figures: Figures) -> None:
    """Time the search of many vectors, and multiplying by all of them."""
    made_up = MadeUp(SentenceTransformerEmbedder(RagSettings()))
    vectors = made_up.made(sizes.vectors)
    started_s = time.perf_counter()
    nothing = np.zeros(0, dtype=np.int64)
    index = DenseIndex.empty(DIMENSIONS).updated(nothing, np.arange(sizes.vectors), vectors)
    figures.told["vectors: built in, s"] = time.perf_counter() - started_s
    queries = made_up.made(sizes.queries)
    found = []
    for number, query in enumerate(queries):
        figures.take("vectors", lambda q=query: found.append(index.search(q, 10)[0]))  # type: ignore[misc] # bound
        if number < 2 * sizes.rounds:
            figures.take("plain matmul", lambda q=query: np.argpartition(-(vectors @ q), 10))  # type: ignore[misc] # bound
    best = [set(np.argsort(-(vectors @ query))[:10].tolist()) for query in queries[:20]]
    recall = [len(exact.intersection(keys.tolist())) / 10 for exact, keys in zip(best, found, strict=False)]
    figures.told["vectors: recall@10"] = statistics.mean(recall)


@dataclass(frozen=True)
class Claim:
    """One side may take at most so many milliseconds, at its median or near its slowest."""

    title: str
    side: str
    peer: str
    at_most_ms: float
    share: float = 0.5  # of rounds that may be slower: .5 is the median, .95 all but one in twenty


def claims_of(sizes: Sizes, figures: Figures) -> tuple[Claim, ...]:
    """Name what is claimed at these sizes."""
    large, vectors = f"{sizes.large_files:,} files", f"{sizes.vectors:,}"
    chunks = f"{figures.told.get('queried tree: chunks', 0):,.0f} chunks"
    more = f"{figures.told.get('large tree: chunks', 0):,.0f} chunks"
    return (
        Claim(f"first answer from {sizes.small_files:,} files", "first answer", "semble", 5_000),
        Claim(f"sync of {large} that did not change", "no change", "git status", 150),
        Claim(f"an edited file of {large} found", "edited file found", "git grep", 500),
        Claim(f"query at {chunks}, p50", "query", "embed and matmul", 15),
        Claim(f"query at {chunks}, p95", "query", "embed and matmul", 50, 0.95),
        Claim(f"query at {more}, p95", "query, large tree", "embed and matmul, large tree", 50, 0.95),
        Claim(f"faiss at {vectors} vectors, p95", "vectors", "plain matmul", 100, 0.95),
    )


def judge(figures: Figures, claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """Hold what was measured against what is claimed."""
    found = []
    for claim in claims:
        if claim.side not in figures.seconds:
            continue
        peer = claim.peer if claim.peer in figures.seconds else "plain read and BM25"
        ours, theirs = (_quantile_ms(figures.seconds[side], claim.share) for side in (claim.side, peer))
        row = {"ms": ours, "peer": peer, "peer_ms": theirs, "ratio": ours / theirs, "holds": ours <= claim.at_most_ms}
        found.append({**asdict(claim), **row})
    return found


def _quantile_ms(seconds: Sequence[float], share: float) -> float:
    return 1_000 * sorted(seconds)[min(len(seconds) - 1, math.ceil(share * len(seconds)) - 1)]


def show(figures: Figures, found: Sequence[dict[str, Any]]) -> None:
    """Print the tables."""
    print(f"{'':30}{'min ms':>10}{'p50 ms':>10}{'p95 ms':>10}{'max ms':>10}{'rounds':>8}")
    for name, values in figures.seconds.items():
        columns = (min(values) * 1_000, _quantile_ms(values, 0.5), _quantile_ms(values, 0.95), max(values) * 1_000)
        print(f"{name:30}{''.join(f'{column:10.1f}' for column in columns)}{len(values):8}")
    print(*(f"{name:36}{value:12,.2f}" for name, value in figures.told.items()), sep="\n", end="\n\n")
    for row in found:
        peer = f"{row['ratio']:.2f} of {row['peer']} ({row['peer_ms']:.1f} ms)"
        outcome = "holds" if row["holds"] else "FAILS"
        print(f"{outcome}  <= {row['at_most_ms']:5.0f} ms {row['ms']:8.1f} ms   {row['title']:44} {peer}")
    print(*(f"left out: {name}" for name in dict.fromkeys(figures.left_out)), sep="\n")


def main() -> None:
    """Measure, print, and write the numbers where they are wanted; ends with 1 when a claim fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller trees, fewer vectors, 3 rounds")
    parser.add_argument("--only", choices=("first", "large", "vectors"), help="one of the three measurements")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    options = parser.parse_args()
    sizes, figures = QUICK if options.quick else Sizes(), Figures()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder, watching_host() as stolen:
        if options.only in (None, "first"):
            measure_first(sizes, Path(folder), figures)
        if options.only in (None, "large"):
            measure_large(sizes, Path(folder), figures)
        if options.only in (None, "vectors"):
            measure_vectors(sizes, figures)
    found = judge(figures, claims_of(sizes, figures))
    show(figures, found)
    print(f"the machine's host gave {stolen.share:.0%} of its time to others")
    if options.json:
        report = {**asdict(figures), "sizes": asdict(sizes), "claims": found, "stolen": stolen.share}
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    sys.exit(not all(row["holds"] for row in found))


if __name__ == "__main__":
    main()
