"""Which kind of query it is, and what it names."""

import time

import pytest

from rag.query import Query, QueryKind

TRACE = """Traceback (most recent call last):
  File "/usr/lib/app/shop/cart.py", line 41, in add_item
    self.total += price
TypeError: unsupported operand"""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("flush", "name"),
        ("Flask.run", "name"),
        ("std::vector", "name"),
        ("parse_header()", "name"),
        ("_private", "name"),
        ("how are headers parsed", "question"),
        ("session cookie signing", "question"),
        ("where is `parse_header` used?", "question"),
        ("Parse one header line.", "description"),
        (TRACE, "report"),
        ("it fails\nwith more than one item in the cart when the price is a string", "report"),
        ("word " * 60, "report"),
        ("panic\n    at Object.<anonymous> (/srv/a.js:10:5)", "report"),
    ],
)
def test_the_kind_follows_simple_rules(text: str, kind: QueryKind) -> None:
    assert Query(text).kind == kind


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Flask.run()", ("flask.run",)),
        ("std::Vec->push", ("std.vec.push",)),
        ("why does readFile call open_socket", ("readfile", "open_socket")),
        ("see `flush` and HTTPAdapter", ("flush", "httpadapter")),
        ("The cart is empty", ()),
        (TRACE, ("add_item", "cart.py", "self.total")),
    ],
)
def test_identifiers_are_found_among_words(text: str, names: tuple[str, ...]) -> None:
    assert set(names) <= set(Query(text).names)
    assert bool(names) == bool(Query(text).names)


def test_a_stack_trace_names_files_and_lines() -> None:
    assert Query(TRACE).frames == (("/usr/lib/app/shop/cart.py", 41),)
    assert Query("panic in src/main.rs:12:9 and lib/x.go:7").frames == (("src/main.rs", 12), ("lib/x.go", 7))
    assert "src/main.rs" in Query("panic in src/main.rs:12").files


def test_words_that_say_nothing_are_left_out() -> None:
    assert Query("where is the readFile used").words == {"read", "file", "readfile"}


@pytest.mark.parametrize("unit", ["a", "a.", "\n", " at (", "a_", "/", 'File "', ":1", "a:1 ", "x" * 400 + " "])
def test_a_hostile_query_costs_no_more_than_its_length(unit: str) -> None:
    query = Query((unit * 100_000)[:100_000])
    started = time.process_time()
    assert query.kind
    assert len(query.names) + len(query.files) + len(query.frames) >= 0
    assert time.process_time() - started < 5  # a quadratic pattern needs minutes
