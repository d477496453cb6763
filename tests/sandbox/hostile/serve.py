"""`python -m tests.sandbox.hostile.serve HOME`: runs the cases named on standard input, one answer a line.

The first line out says that the sandbox is ready, or why it cannot be. Ends when its input does.
"""

import json
import sys
import time
from pathlib import Path

from sandbox.errors import SandboxUnavailableError
from tests.sandbox.hostile.host import Host
from tests.sandbox.hostile.table import BY_NAME, why_not_here


def say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def main() -> None:
    host = Host(Path(sys.argv[1]))
    try:
        host.warm()
    except SandboxUnavailableError as error:
        host.close()
        say(unavailable=error.message)
        return
    say(unavailable=None, detail=host.sandbox.status().detail)
    for line in sys.stdin:
        case = BY_NAME[line.strip()]
        started = time.monotonic()
        reason = why_not_here(case, host)
        found = [] if reason else host.check(case)
        say(name=case.name, found=found, skipped=reason, took_s=round(time.monotonic() - started, 3))
    host.close()


if __name__ == "__main__":
    main()
