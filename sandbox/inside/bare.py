"""Entry of the `none` tier: set the limits and hand over to a harness. Nothing is isolated here."""

import importlib
import os
import sys
from typing import Any, NoReturn

from sandbox.inside import job


def main(config: dict[str, Any]) -> NoReturn:
    """Run one job in this process; never returns."""
    job.load_harnesses()
    sys.path[:] = [path for path in sys.path if path != config["source_root"]]
    job.remember_path()
    sys.path.extend(config["packages"])
    for name in config["hooks"]:
        module, _, function = name.partition(":")
        getattr(importlib.import_module(module), function)()
    job.set_limits({**config["limits"], "n_processes": None}, config["kind"])
    fds = config["fds"]
    arguments, recorder = job.open_channels(fds)
    if config["requirements"] is not None:
        arguments["requirements_path"] = config["requirements"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(fds[name], number)
    kept = job.close_all_but_kept(fds)
    os.environ.clear()
    environment = {**job.ENVIRONMENT, "HOME": os.getcwd(), "TMPDIR": config["folder"]}
    job.run_harness(config["kind"], arguments, recorder, kept=kept, environment=environment)
