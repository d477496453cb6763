"""Go source of the packages `assert` and `require`: the assertions of testify that small tests use, from one table.

Written for this project under the names and argument orders that testify documents, for machines where the real one
is not installed and cannot be fetched. `require` differs only in that a failure ends its test.
"""

from functools import cache

from sandbox.suites.plans import driver

_TWO = "expected, actual interface{}"
_ONE = "value interface{}"
_PAIR = "a, b interface{}"
# name: parameters, what must hold, what to say
ASSERTIONS: dict[str, tuple[str, str, str]] = {
    "Equal": (_TWO, "ObjectsAreEqual(expected, actual)", "show(expected, actual)"),
    "NotEqual": (_TWO, "!ObjectsAreEqual(expected, actual)", 'fmt.Sprintf("should not be %#v", actual)'),
    "EqualValues": (
        _TWO,
        "ObjectsAreEqual(expected, actual) || number(expected) == number(actual)",
        "show(expected, actual)",
    ),
    "Exactly": (_TWO, "ObjectsAreEqual(expected, actual)", "show(expected, actual)"),
    "True": ("value bool", "value", '"should be true"'),
    "False": ("value bool", "!value", '"should be false"'),
    "Nil": (_ONE, "isNil(value)", 'fmt.Sprintf("expected nil, got %#v", value)'),
    "NotNil": (_ONE, "!isNil(value)", '"expected a value, got nil"'),
    "NoError": ("err error", "err == nil", 'fmt.Sprintf("unexpected error: %v", err)'),
    "Error": ("err error", "err != nil", '"an error is expected but got nil"'),
    "ErrorIs": ("err, target error", "errors.Is(err, target)", 'fmt.Sprintf("error %v is not %v", err, target)'),
    "EqualError": (
        "err error, text string",
        "err != nil && err.Error() == text",
        'fmt.Sprintf("error is %v, expected %q", err, text)',
    ),
    "ErrorContains": (
        "err error, text string",
        "err != nil && strings.Contains(err.Error(), text)",
        'fmt.Sprintf("error %v does not contain %q", err, text)',
    ),
    "Empty": (_ONE, "isEmpty(value)", 'fmt.Sprintf("should be empty: %#v", value)'),
    "NotEmpty": (_ONE, "!isEmpty(value)", '"should not be empty"'),
    "Zero": (_ONE, "value == nil || reflect.ValueOf(value).IsZero()", 'fmt.Sprintf("should be zero: %#v", value)'),
    "Len": (
        "value interface{}, n int",
        "length(value) == n",
        'fmt.Sprintf("length is %d, expected %d", length(value), n)',
    ),
    "Contains": ("list, item interface{}", "contains(list, item)", 'fmt.Sprintf("%#v lacks %#v", list, item)'),
    "NotContains": ("list, item interface{}", "!contains(list, item)", 'fmt.Sprintf("%#v contains %#v", list, item)'),
    "ElementsMatch": (_PAIR, "sameElements(a, b)", 'fmt.Sprintf("elements differ: %#v, %#v", a, b)'),
    "Greater": (_PAIR, "number(a) > number(b)", 'fmt.Sprintf("%v is not greater than %v", a, b)'),
    "GreaterOrEqual": (_PAIR, "number(a) >= number(b)", 'fmt.Sprintf("%v is less than %v", a, b)'),
    "Less": (_PAIR, "number(a) < number(b)", 'fmt.Sprintf("%v is not less than %v", a, b)'),
    "LessOrEqual": (_PAIR, "number(a) <= number(b)", 'fmt.Sprintf("%v is greater than %v", a, b)'),
    "InDelta": (f"{_TWO}, delta float64", "near(expected, actual, delta)", "show(expected, actual)"),
    "InEpsilon": (
        f"{_TWO}, epsilon float64",
        "near(expected, actual, epsilon*math.Abs(number(expected)))",
        "show(expected, actual)",
    ),
    "Panics": ("run func()", "panics(run)", '"should panic"'),
    "NotPanics": ("run func()", "!panics(run)", '"should not panic"'),
    "Fail": ("text string", "false", "text"),
}
_FUNCTION = """
// NAME reports what does not hold.
func NAME(t TestingT, PARAMETERS, message ...interface{}) bool {
	if h, is := t.(helper); is {
		h.Helper()
	}
	return report(t, HOLDS, TEXT, message)
}

// NAME reports what does not hold.
func (all *Assertions) NAME(PARAMETERS, message ...interface{}) bool {
	if h, is := all.t.(helper); is {
		h.Helper()
	}
	return NAME(all.t, ARGUMENTS, message...)
}
"""


def _assertion(name: str, parameters: str, holds: str, text: str) -> str:
    arguments = ", ".join(part.split()[0] for part in parameters.split(","))
    filled = _FUNCTION.replace("NAME", name).replace("PARAMETERS", parameters).replace("ARGUMENTS", arguments)
    return filled.replace("HOLDS", holds).replace("TEXT", text)


@cache
def source(package: str) -> str:
    """Return the source of the package `assert` or `require`."""
    head = driver("testify.go").replace("PACKAGE", package).replace("STOPS", str(package == "require").lower())
    return head + "".join(_assertion(name, *parts) for name, parts in ASSERTIONS.items())
