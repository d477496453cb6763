"""Grammars: what they allow, when they begin, and that no token can bring the native code down."""

import random
from typing import Any

import numpy as np
import pytest

from mcp_server.engine.grammar.ambiguity import MAX_WAYS, count_ways
from mcp_server.engine.grammar.grammar import Grammar, grammar_of, schema_grammar
from mcp_server.engine.types import SamplingParams
from mcp_server.errors import InvalidRequestError
from tests.example_schemas import EXAMPLE_SCHEMAS

ANYTHING_IN_QUOTES = Grammar(r'root ::= "\"" [^"]* "\""')


def one(drawer: Any, text: str) -> int:
    (token,) = drawer.vocabulary.encode(text, is_prompt=False)
    return int(token)


def test_no_grammar_is_asked_for_by_default() -> None:
    assert grammar_of(SamplingParams()) is None
    assert grammar_of(SamplingParams(grammar='root ::= "a"')) == Grammar('root ::= "a"')
    assert grammar_of(SamplingParams(json_mode=True)) == schema_grammar({"type": "object"})


@pytest.mark.parametrize("raw", ["\t", "\n", "\x00", "\x1f", "\x7f"], ids=repr)
def test_strings_exclude_raw_control_characters(drawer: Any, raw: str) -> None:
    grammar = schema_grammar({"type": "string"})
    assert drawer.accepts(grammar, '"a b"')
    assert not drawer.accepts(grammar, f'"a{raw}b"')


def test_a_refused_token_is_replaced_by_the_likeliest_allowed(drawer: Any) -> None:
    sampler = drawer.sampler(temperature=0, grammar=Grammar('root ::= "a" | "b"'))
    logits = np.random.default_rng(4).normal(0, 1, drawer.n_vocab).astype(np.float32)
    a, b, c = one(drawer, "a"), one(drawer, "b"), one(drawer, "c")
    logits[a], logits[b], logits[c] = -3.0, -2.0, 20.0
    assert drawer.draw(sampler, logits) == [b]


@pytest.mark.parametrize(
    "sampling", [{}, {"top_k": 5}, {"top_k": 200}, {"top_k": 3, "repetition_penalty": 1.5}, {"top_n_sigma": 2.0}]
)
def test_draws_under_a_grammar_follow_the_softmax_of_what_it_allows(drawer: Any, sampling: dict[str, Any]) -> None:
    """The likeliest 300 tokens are forbidden, so that the short way of asking about the first 256 finds nothing."""
    grammar = Grammar("root ::= [abc]")
    a, b, c = (one(drawer, char) for char in "abc")
    logits = np.random.default_rng(4).normal(0, 1, drawer.n_vocab).astype(np.float32)
    forbidden = [token for token in range(drawer.n_vocab) if token not in (a, b, c)][:300]
    logits[forbidden] += 30
    logits[a], logits[b], logits[c] = 1.0, 0.0, -20.0
    drawn = []
    for seed in range(300):
        sampler = drawer.sampler(grammar=grammar, temperature=1.0, top_p=1.0, seed=seed, **({"top_k": 0} | sampling))
        drawn += drawer.draw(sampler, logits)
        sampler.close()
    assert set(drawn) <= {a, b}
    if "top_n_sigma" not in sampling:
        assert drawn.count(a) / 300 == pytest.approx(0.73, abs=0.1)


def test_penalties_remember_the_token_that_came_and_not_the_one_refused(drawer: Any) -> None:
    sampler = drawer.sampler(temperature=0, presence_penalty=3.0, grammar=Grammar("root ::= [ab]*"))
    a, b, c = (one(drawer, char) for char in "abc")
    logits = drawer.flat(**{f"t{a}": 2.0, f"t{b}": 1.0, f"t{c}": 4.0})
    assert drawer.draw(sampler, logits, n=2) == [a, b]


def test_a_grammar_that_allows_no_token_ends_the_sequence(drawer: Any) -> None:
    logits = np.zeros(drawer.n_vocab, np.float32)
    only = one(drawer, "a")
    sampler = drawer.sampler(temperature=0, grammar=Grammar('root ::= "a"'))
    first, then = drawer.draw(sampler, logits, n=2)
    assert first == only
    assert drawer.vocabulary.is_end(then)
    logits[list(drawer.vocabulary.end_tokens)] = -np.inf
    sampler = drawer.sampler(temperature=0, grammar=Grammar('root ::= "a"'))
    assert drawer.draw(sampler, logits, n=2) == [only, None]


def test_a_finished_grammar_ends_a_sequence_that_ignores_its_end(drawer: Any) -> None:
    sampler = drawer.sampler(temperature=1.0, ignore_eos=True, grammar=Grammar('root ::= "a"'))
    _, then = drawer.draw(sampler, np.zeros(drawer.n_vocab, np.float32), n=2)
    assert then is None or drawer.vocabulary.is_end(then)


def test_bytes_that_are_no_character_are_refused(drawer: Any) -> None:
    """The native grammar takes two bytes after 0xE4 for its character, whatever they are."""
    assert drawer.accepts(ANYTHING_IN_QUOTES, '"\u4e16 \U0001f600 \u00fc"')
    assert not drawer.accepts(ANYTHING_IN_QUOTES, b'"\xe4ab"')
    assert not drawer.accepts(ANYTHING_IN_QUOTES, b'"\xe4\xb8"')
    assert not drawer.accepts(ANYTHING_IN_QUOTES, b'"\xed\xa0\x80"')
    assert not drawer.accepts(ANYTHING_IN_QUOTES, b'"\xff"')


def test_tokens_that_are_no_text_are_refused_unless_the_grammar_wants_them(drawer: Any) -> None:
    hidden = next(token for token in drawer.vocabulary.hidden_tokens if not drawer.vocabulary.is_end(token))
    name = drawer.vocabulary.pieces[hidden].decode()
    logits = drawer.flat(**{f"t{hidden}": 5.0})
    quoted = f'root ::= "{name}" "!"'
    assert drawer.draw(drawer.sampler(temperature=0, grammar=Grammar(quoted)), logits) != [hidden]
    wanting = Grammar(quoted, allows_hidden=True)
    assert drawer.draw(drawer.sampler(temperature=0, grammar=wanting), logits) == [hidden]
    by_id = Grammar(f'root ::= <[{hidden}]> "!"')
    assert drawer.draw(drawer.sampler(temperature=0, grammar=by_id), logits) == [hidden]


def test_a_lazy_grammar_begins_where_its_trigger_matched(drawer: Any) -> None:
    sampler = drawer.sampler(temperature=0, grammar=Grammar('root ::= "<<" [0-9]{2} ">"', triggers=("<<",)))
    x, less, two, more = (one(drawer, char) for char in "x<2>")
    free = [drawer.flat(**{f"t{token}": 5.0}) for token in (x, less, x, less, less)]
    assert [drawer.draw(sampler, logits)[0] for logits in free] == [x, less, x, less, less]
    held = drawer.flat(**{f"t{x}": 5.0, f"t{two}": 1.0, f"t{more}": 0.5})
    assert drawer.draw(sampler, held, n=3) == [two, two, more]
    (then,) = drawer.draw(sampler, held)
    assert drawer.vocabulary.is_end(then)


def test_the_first_group_of_a_trigger_says_where_the_grammar_begins(drawer: Any) -> None:
    grammar = Grammar('root ::= "{" [0-9] "}"', triggers=(r"call: *(\{)",))
    sampler = drawer.sampler(temperature=0, grammar=grammar)
    x, seven, close = (one(drawer, char) for char in "x7}")
    for token in drawer.vocabulary.encode("my call: ", is_prompt=False):
        drawer.draw(sampler, drawer.flat(**{f"t{token}": 5.0}))
    assert drawer.draw(sampler, drawer.flat(**{f"t{one(drawer, '{')}": 5.0})) == [one(drawer, "{")]
    held = drawer.flat(**{f"t{x}": 5.0, f"t{seven}": 1.0, f"t{close}": 0.5})
    assert drawer.draw(sampler, held, n=2) == [seven, close]


def test_a_token_that_would_begin_a_lazy_grammar_wrongly_is_refused(drawer: Any) -> None:
    """The native code aborts the process here: the token has the trigger and what the grammar forbids after it."""
    pieces = drawer.vocabulary.pieces
    hidden = set(drawer.vocabulary.hidden_tokens) | set(drawer.vocabulary.end_tokens)
    pairs = [token for token, piece in enumerate(pieces) if piece.isalpha() and len(piece) == 4 and token not in hidden]
    wrong, other = pairs[:2]
    begin = pieces[wrong][:2].decode()
    sampler = drawer.sampler(temperature=0, grammar=Grammar(f'root ::= "{begin}" "!"', triggers=(begin,)))
    logits = drawer.flat(**{f"t{wrong}": 5.0, f"t{other}": 1.0})
    if begin in pieces[other].decode():
        logits[other] = -50
    assert drawer.draw(sampler, logits) != [wrong]


@pytest.mark.parametrize("seed", range(6))
def test_random_walks_through_grammars_never_abort(drawer: Any, seed: int) -> None:
    """Flat logits draw every kind of token: broken characters, control tokens, ends, long runs of spaces."""
    grammars = (
        Grammar("root ::= [^a]* [\u4e00-\u9fff]"),
        Grammar('root ::= ("ab" | [^\\x00-\\x7F] root)?'),
        Grammar('root ::= ([a-z]+ " ")* | "\\"" [^"]* "\\""'),
        Grammar("root ::= .{3,50}", triggers=("e",)),
        Grammar("root ::= [a-e] [^ ]*", triggers=("a", "(?:b)(c)")),
        schema_grammar({"type": "object"}),
    )
    generator = random.Random(seed)  # noqa: S311  # a test's choices, not a secret
    for grammar in grammars:
        sampler = drawer.sampler(
            grammar=grammar, temperature=1.0, top_k=generator.choice((0, 40)), top_p=1.0, seed=seed
        )
        for _ in range(40):
            (token,) = drawer.draw(sampler, np.zeros(drawer.n_vocab, np.float32))
            if token is None or drawer.vocabulary.is_end(token):
                break
        sampler.close()


@pytest.mark.parametrize(
    ("grammar", "n_ways"),
    [
        ('root ::= "abc"', 1),
        ('root ::= "a" | "b" | ""', 0),
        ('root ::= ("a" | "b") [0-9]+', 2),
        ('root ::= "a"* "b"* "c"*', 3 + 2 + 1),
        ('root ::= ("a"?){40} "b"', 40 * 39 // 2 + 40),
        ('root ::= "a"{40} "b"', 1),
        ('root ::= "a"{2,40} "b"', 2),
        ('root ::= "x" rest\nrest ::= ("a"? "b"?){3}', 6 * 5 // 2),
        ('root ::= "(" root ")" | "[" root "]" | .', 3 + 3 + 1),
        ('root ::= ((("a"*)*)*)* "\\"" # ("a"?){100}', 5),
    ],
)
def test_ways_are_counted_at_the_worst_place(grammar: str, n_ways: int) -> None:
    assert count_ways(grammar) == n_ways


@pytest.mark.parametrize("grammar", ['root ::= (("a"?){40}){40} "b"', 'root ::= "x" y\ny ::= ((("a"?){12}){12}){12}'])
def test_a_grammar_that_would_stall_everybody_is_refused(grammar: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"{MAX_WAYS}") as caught:
        grammar_of(SamplingParams(grammar=grammar))
    assert caught.value.param == "grammar"
    with pytest.raises(InvalidRequestError) as caught:
        grammar_of(SamplingParams(json_schema={"type": "string", "pattern": "^((a?){40}){40}b$"}))
    assert caught.value.param == "json_schema"


def test_grammars_of_large_schemas_hold_few_ways_open() -> None:
    wide = {"type": "object", "properties": {f"field_{n}": {"type": "string"} for n in range(300)}}
    names = {"enum": [f"choice {n}" for n in range(2000)]}
    for schema in (*EXAMPLE_SCHEMAS.values(), {"type": "object"}, {}, wide, names):
        assert count_ways(schema_grammar(schema).text) < MAX_WAYS / 4
