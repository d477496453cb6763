"""A server that nobody has told what runs its embedding model: it converts the model itself, and says so meanwhile."""

from pathlib import Path

import pytest

from tests.live.processes import environment, finished, serving

pytestmark = [pytest.mark.live, pytest.mark.sweep, pytest.mark.timeout(240)]


def test_a_server_converts_its_model_for_the_first_index_and_a_pipe_is_told(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "billing.py").write_text("def total_price(items):\n    return sum(items)\n", encoding="utf-8")
    with serving(tmp_path / "home") as running:
        env = environment(running.home)
        indexed = finished("-m", "shim", "index", str(project), "--project", "billing", env=env)
        assert indexed.returncode == 0
        first = indexed.stderr.splitlines()[0]
        assert first == "cinque index: preparing the embedding model, once: up to two minutes"
        again = finished("-m", "shim", "index", str(project), "--project", "billing", env=env)
        assert (again.returncode, again.stderr) == (0, "")
        found = finished("-m", "shim", "search", "costs of all articles", "--project", "billing", env=env)
        assert (found.returncode, found.stderr) == (0, "")
        assert "total_price" in found.stdout
        assert running.child.end() == 0
    assert list(running.home.glob("rag/models/*/auto/choice.json"))
