"""What moves a chunk up or down: a symbol or path that the query names, tests, classes, and others of its file."""

from rag.fusion import Fused
from rag.query import Query
from rag.ranking import Candidate, rank
from rag.types import Chunk


def candidate(path: str, symbol: str = "", score: float = 0.5, kind: str = "function", start: int = 1) -> Candidate:
    chunk = Chunk("0", path, "python", kind, symbol, start, start + 9, "text")
    return Candidate(Fused(start, score, None, None), chunk)


def order(query: str, *candidates: Candidate) -> list[str]:
    return [f"{found.chunk.path}:{found.chunk.symbol}" for found in rank(candidates, Query(query))]


def test_the_definition_of_a_name_stands_above_what_calls_it() -> None:
    caller, definition = candidate("a.py", "run_all", 0.9), candidate("b.py", "Task.run", 0.5)
    for query in ("run", "Task.run", "tasks.Task.run()", "Task::run"):
        assert order(query, caller, definition)[0] == "b.py:Task.run"


def test_a_name_among_words_lifts_its_definition() -> None:
    other, definition = candidate("a.py", "other", 0.6), candidate("b.py", "open_socket", 0.5)
    assert order("why does open_socket hang", other, definition)[0] == "b.py:open_socket"


def test_a_file_whose_name_has_the_words_comes_first() -> None:
    other, named = candidate("app/main.py", "f", 0.55), candidate("app/sessions.py", "f", 0.5)
    assert order("how does a session end", other, named)[0] == "app/sessions.py:f"


def test_tests_come_after_the_code_unless_they_are_asked_for() -> None:
    test, code = candidate("tests/test_cart.py", "f", 0.6), candidate("shop/basket.py", "f", 0.5)
    assert order("how is the price added", test, code)[0] == "shop/basket.py:f"
    assert order("which test adds a price", test, code)[0] == "tests/test_cart.py:f"
    for path in ("a/cart.spec.ts", "cart_test.go", "src/test/java/A.java", "CartTest.java", "x/__tests__/a.js"):
        assert order("how is the price added", candidate(path, "f", 0.6), code)[0] == "shop/basket.py:f"
    for path in ("a/contest.py", "latest/a.py", "attest.go"):
        assert order("how is the price added", candidate(path, "f", 0.6), code)[0] == f"{path}:f"


def test_a_method_comes_before_the_header_of_its_class() -> None:
    header, method = candidate("a.py", "Cart", 0.55, "class"), candidate("b.py", "Basket.add", 0.5, "method")
    assert order("Put an item in.", header, method)[0] == "b.py:Basket.add"


def test_a_name_may_well_be_a_class() -> None:
    header, method = candidate("a.py", "Cart", 0.5, "class"), candidate("a.py", "Cart.add", 0.5, "method", 20)
    assert order("Cart", method, header)[0] == "a.py:Cart"


def test_one_file_does_not_fill_the_answer_to_a_question() -> None:
    crowd = [candidate("a.py", "f", 0.6 - number / 100, start=20 * number + 1) for number in range(4)]
    found = order("how does it begin", *crowd, candidate("b.py", "f", 0.5))
    assert found.index("b.py:f") == 2


def test_a_file_with_much_that_fits_comes_before_one_with_little() -> None:
    alone = candidate("b.py", "f", 0.52)
    together = [candidate("a.py", f"g{number}", 0.5 - number / 50, start=20 * number + 1) for number in range(4)]
    for query in ("how does it begin", "Begin it at once."):
        assert order(query, alone, *together)[0] == "a.py:g0"
        assert order(query, alone, together[0])[0] == "b.py:f"
    assert order("begin", alone, *together)[0] == "b.py:f"


def test_a_description_may_find_several_functions_of_one_file() -> None:
    crowd = [candidate("a.py", f"f{number}", 0.6 - number / 100, start=20 * number + 1) for number in range(4)]
    found = order("Begin it at once.", *crowd, candidate("b.py", "f", 0.5))
    assert found.index("b.py:f") == 4


def test_the_frames_of_a_stack_trace_come_first() -> None:
    trace = 'Traceback (most recent call last):\n  File "/srv/shop/cart.py", line 25, in add\nValueError: no price'
    far, near = candidate("shop/cart.py", "x", 0.5), candidate("shop/cart.py", "y", 0.4, start=20)
    assert order(trace, far, candidate("shop/price.py", "z", 0.6), near)[0] == "shop/cart.py:y"


def test_scores_lie_between_nought_and_one_best_first() -> None:
    found = rank([candidate(f"{n}.py", "f", n / 10, start=n) for n in range(10)], Query("what is it"))
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 1.0
    assert rank([], Query("what")) == []
