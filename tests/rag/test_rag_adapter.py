"""The front for outside harnesses: a folder in, ranked spans out."""

from pathlib import Path

import pytest
from hash_embedder import HashEmbedder

from rag.adapter import FolderSearch
from rag.errors import InvalidRequestError, RagError
from rag.settings import RagSettings

BREAD = "def bake_bread(flour):\n    return oven(flour)\n\n\ndef slice_bread(loaf):\n    return knife(loaf)\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "bread.py").write_text(BREAD)
    (folder / "src" / "net.py").write_text("def open_socket(host):\n    return connect(host)\n")
    return folder


@pytest.fixture
def search(tmp_path: Path) -> FolderSearch:
    return FolderSearch(tmp_path / "home", embedder=HashEmbedder())


def test_a_query_gives_spans_with_scores_best_first(search: FolderSearch, root: Path) -> None:
    assert search.index(root).n_files == 2
    found = search.search("slice the bread", k=3)
    assert found[0][:3] == ("src/bread.py", 5, 6)
    assert [score for *_, score in found] == sorted((score for *_, score in found), reverse=True)
    assert len(search.search("slice the bread", k=1)) == 1


def test_indexing_again_takes_up_what_changed(search: FolderSearch, root: Path) -> None:
    search.index(str(root))
    (root / "src" / "net.py").unlink()
    (root / "src" / "cake.py").write_text("def frost_cake(sugar):\n    return sugar\n")
    report = search.index(root)
    assert (report.n_files_changed, report.n_files_deleted) == (1, 1)
    assert search.search("frost cake")[0][0] == "src/cake.py"


def test_the_folder_indexed_last_is_the_one_searched(search: FolderSearch, root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "tea.py").write_text("def brew_tea(leaves):\n    return kettle(leaves)\n")
    search.index(root)
    search.index(other)
    assert {path for path, *_ in search.search("bread or tea")} == {"tea.py"}


def test_a_long_hit_is_not_cut_off(search: FolderSearch, tmp_path: Path) -> None:
    (tmp_path / "long").mkdir()
    (tmp_path / "long" / "long.py").write_text("def f():\n" + "    line_of_code(1, 2, 3)\n" * 3000)
    search.index(tmp_path / "long")
    assert len(search.search("line of code", k=50)) > 10


def test_a_home_of_its_own_is_gone_after_closing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with FolderSearch(embedder=HashEmbedder()) as search:
        search.index(root)
        assert list(tmp_path.glob("cinque-*"))
    assert not list(tmp_path.glob("cinque-*"))
    with pytest.raises(RagError):
        search.search("bread")
    search.close()


def test_settings_are_taken_but_the_given_home_goes_before_theirs(root: Path, tmp_path: Path) -> None:
    settings = RagSettings(home=tmp_path / "unused", dense=False)
    with FolderSearch(tmp_path / "used", settings) as search:
        search.index(root)
        assert search.search("bake")[0][0] == "src/bread.py"
    assert (tmp_path / "used").exists()
    assert not (tmp_path / "unused").exists()


def test_searching_before_indexing_says_what_to_do(search: FolderSearch) -> None:
    with pytest.raises(InvalidRequestError, match="call index first"):
        search.search("bread")


def test_a_folder_that_is_not_there_is_refused(search: FolderSearch, root: Path) -> None:
    search.index(root)
    with pytest.raises(InvalidRequestError):
        search.index(root / "nowhere")
    assert search.search("bread")
