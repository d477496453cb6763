"""Makes the start of the MCP server shorter: pydantic validators are built when first used, not when imported.

The MCP SDK declares some 550 models, of which a handshake uses a dozen; building them all is half of its import.
pydantic has a setting for it (`defer_build`), but only per model, so its default is changed while the SDK is imported.
When pydantic moves that default, nothing breaks: the start takes its full time. See docs/decisions/005.
"""

import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager

DEFAULTS_MODULE = "pydantic._internal._config"
DEFAULTS_NAME = "config_defaults"
SETTING = "defer_build"
GC_THRESHOLDS = (1000, 10, 100)
"""Net new containers before the youngest objects are collected, and how many such collections before older ones are.

A full collection stops every stream: 0.27 s with 1,000 of them open, and Python's own thresholds made four of it while
they were opened. So it comes after some million new objects: 100 MB, if all of them were garbage.
"""


@contextmanager
def deferred_validators() -> Iterator[None]:
    """Import inside the context: models declared there are built on first use.

    Collects no garbage meanwhile, and afterwards seldom looks through everything.
    """
    defaults = getattr(importlib.import_module(DEFAULTS_MODULE), DEFAULTS_NAME, {})
    before = defaults.get(SETTING)
    gc.disable()  # imports make only objects that stay
    if before is not None:
        defaults[SETTING] = True
    try:
        yield
    finally:
        if before is not None:
            defaults[SETTING] = before
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()
