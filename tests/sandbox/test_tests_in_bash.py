"""What a bash test says: each of its checks counts, and its twin, which expects another result, fails."""

import pytest

from sandbox.suites import bash
from sandbox.suites.plans import Sources
from tests.sandbox.machine import Runner
from tests.sandbox.tested_programs import ADD

TWO = 'test_a() {\n  [ "$(add 1 2)" = 3 ]\n  [ "$(add 0 0)" = 0 ]\n}\n'
LOOP = 'for n in 1 2; do\n  [ "$(add $n 1)" = $((n + 1)) ]\ndone\n'
IDIOMS = (
    "test_a() {\n  local i=0\n  ((i++))\n  out=$(add 1 2); status=$?\n  ((status == 0))\n"
    '  if [ "$out" = 4 ]; then return 1; fi\n  [ "$out" = 4 ] && return 1\n  grep -q nothing <<<"$out"\n'
    '  ! [ "$out" = 4 ]\n  [[ $out == 3 ]]\n}\n[ $(add 1 2) -eq 3 ]\nif [ "$(add 1 1)" -ne 2 ]; then exit 1; fi\n'
)


@pytest.mark.parametrize(
    ("code", "tests", "said"),
    [
        ("add() { echo 0; }\n", TWO, "(line 2)"),
        ("add() { if [ $1 = 2 ]; then echo 3; else echo 9; fi; }\n", LOOP, "(line 1)"),
        ("add() { echo 9; }\n", "test_a() {\n  (( $(add 1 2) == 3 ))\n  true\n}\n", "((  9 == 3 ))"),
    ],
    ids=["first of two", "first round of a loop", "arithmetic"],
)
def test_a_check_that_fails_fails_its_test_though_others_hold(run: Runner, code: str, tests: str, said: str) -> None:
    result = run(code, tests, language="bash")
    assert (result.success, result.error_type, result.tests_passed) == (False, "AssertionError", 0), result
    assert said.replace(" ", "") in (result.error_message or "").replace(" ", "").replace("$(add12)", "9")


@pytest.mark.parametrize("tests", [TWO, LOOP, IDIOMS], ids=["two", "loop", "idioms"])
def test_checks_inside_conditions_and_lists_do_not_fail_a_right_program(run: Runner, tests: str) -> None:
    result = run(ADD["bash"], tests, language="bash")
    assert (result.verdict, result.tests_run - result.tests_passed) == ("OK", 0), result


def test_a_program_that_fits_every_expectation_is_named_as_such(run: Runner) -> None:
    result = run('add() { echo "1 -o 3"; }\n', "test_add() {\n  [ $(add 1 2) -eq 3 ]\n}\n", language="bash")
    assert (result.verdict, result.error_type, result.tests_passed) == ("WRONG_ANSWER", "TestsTampered", 0)
    assert (result.error_message or "").startswith("test_add: it holds, too, when another result is expected")


def test_what_a_test_leaves_behind_is_the_same_with_and_without_twins(run: Runner) -> None:
    code = "count() { echo x >>seen; wc -l <seen; }\n"
    tests = 'test_one() { [ "$(count)" -eq 1 ]; }\ntest_two() { [ "$(count)" -eq 2 ]; }\n'
    assert run(code, tests, language="bash").verdict == "OK"


def test_a_function_named_like_a_command_can_be_tested(run: Runner) -> None:
    tests = 'test_sort() {\n  [ "$(printf "b\\na\\n" | sort)" = ours ]\n}\n'
    assert run("sort() { echo ours; }\n", tests, language="bash").verdict == "OK"
    both = "other() { :; }\nsort() { echo ours; }\n"
    assert not run(both, tests + "test_other() { other; }\n", language="bash").success


@pytest.mark.parametrize(
    ("statement", "twin"),
    [
        ('[ "$(add 1 2)" = 3 ]', '[ "$(add 1 2)" = 104732 ]'),
        ("[ $(add 1 2) -eq -1 ]", "[ $(add 1 2) -eq 104728 ]"),
        ('[[ "$x" == "a b" ]]', '[[ "$x" == "a b~" ]]'),
        ("[[ 3 == $(f) ]]", "[[ 104732 == $(f) ]]"),
        ("assert_eq $(f 1) 'x'", "assert_eq $(f 1) 'x~'"),
        ('assert_equals "abc" "$(f)"', 'assert_equals "abc~" "$(f)"'),
        ("test $x = y", "test $x = y~"),
        ('[ "$x" != 3 ]', None),
        ('! [ "$x" = 3 ]', None),
        ('[ "$x" = 3 ] || false', None),
        ('[ "$x" = "$y" ]', None),
        ("[ -f out ]", None),
    ],
)
def test_only_a_check_that_holds_for_one_result_has_a_twin(statement: str, twin: str | None) -> None:
    plan = bash.plan(Sources("f() { :; }\n", f"{statement}\n", "solution.sh"))
    texts = [text for name, text in plan.recipe.files.items() if "/test_" in name]
    assert len(texts) == (1 if twin is None else 2)
    assert twin is None or twin in texts[1]


@pytest.mark.parametrize("before", ["[ -f x ] || return 0", "("], ids=["return", "subshell"])
def test_what_may_not_be_reached_or_heard_has_no_twin(before: str) -> None:
    tests = f'test_a() {{\n  {before}\n  [ "$(f)" = 3 ]\n}}\n'
    plan = bash.plan(Sources("f() { :; }\n", tests, "solution.sh"))
    assert plan.recipe.files["cinque_suite/twins"] == ""


def test_a_suite_has_a_limited_number_of_twins() -> None:
    tests = '[ "$(f)" = 3 ]\n' * (bash.MAX_TWINS + 8)
    plan = bash.plan(Sources("f() { :; }\n", tests, "solution.sh"))
    assert len(plan.recipe.files["cinque_suite/twins"].split()) == bash.MAX_TWINS
