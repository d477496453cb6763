"""Which families that were held back are known all the same: another one, which is learnt, does what they do.

Families are held back by their names. Two writers may have thought of one thing under two names, so what a held family
computes is compared with what every learnt one computes for the same arguments.
"""

from collections.abc import Sequence

from training.embedded_model.about_code import counting_lines
from training.embedded_model.cases import Case, cases, outcomes
from training.embedded_model.families import Family
from training.embedded_model.splits import is_held


def known_all_the_same(families: Sequence[Family]) -> frozenset[str]:
    """Return names of held-out functions without parameters of their own that a learnt family computes as well."""
    learnt = [one for one in families if one.kind == "function" and not one.parameters and not is_held(one)]
    held = [one for one in families if one.kind == "function" and not one.parameters and is_held(one)]
    return frozenset(
        one.name
        for one in held
        if any(_hints(other) == _hints(one) and _does_the_same(other, cases(one)) for other in learnt)
    )


def _hints(family: Family) -> list[str]:
    return [kind.hint for _, kind in family.arguments]


def _does_the_same(family: Family, wanted: Sequence[Case]) -> bool:
    try:
        for case in wanted:
            with counting_lines():
                result = outcomes(family, family.solutions[0], [case.given])[0].result
            if repr(result) != repr(case.result):
                return False
    except Exception:  # noqa: BLE001 - what it is given is not meant for it
        return False
    return True
