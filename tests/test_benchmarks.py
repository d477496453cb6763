"""Every benchmark starts as a script, which is how people run it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(ROOT.glob("benchmarks/[a-z]*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_benchmark_tells_its_options(script: Path, tmp_path: Path) -> None:
    asked = [sys.executable, str(script), "--help"]
    told = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "--quick" in told
    assert "--json" in told
