"""The interactive page of every door in a real browser, which may reach no machine but this one."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live.browser import Page, browsing, find_chromium
from tests.live.processes import DOORS, Shim

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

HEALTH = """document.querySelector('[data-path="/health"]').closest('.opblock')"""

# A click on a button that the page is about to draw anew is lost, and one that comes before the answer hides it.
EXECUTE = """
var clicked = -Infinity
function execute(block) {
    const button = block.querySelector('button.execute')
    if (button && performance.now() - clicked > 10000) {
        clicked = performance.now()
        button.click()
    }
}
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium here; on Debian: apt-get install --no-install-recommends chromium")
    with browsing(chromium, tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.mark.parametrize("door", DOORS)
def test_the_page_of_a_door_lists_its_endpoints_and_calls_them(
    shim: Shim, page: Page, door: str, tmp_path: Path
) -> None:
    url = shim.urls[door]
    documented = httpx.get(f"{url}/openapi.json").json()
    n_operations = sum(len(operations) for operations in documented["paths"].values())
    page.open(f"{url}/docs")
    page.wait_for(f"document.querySelectorAll('.opblock').length === {n_operations}")
    assert page.evaluate("document.querySelector('.info .title').innerText").startswith(documented["info"]["title"])

    page.evaluate(f"{HEALTH}.querySelector('.opblock-summary-control').click()")
    page.evaluate(EXECUTE)
    answer = f"{HEALTH}.querySelector('.live-responses-table .response td.response-col_status')?.innerText"
    status = page.wait_for(f"execute({HEALTH}) || {answer}")
    assert status.split()[0] == "200"
    body = page.evaluate(
        f"{HEALTH}.querySelector('.live-responses-table .response td.response-col_description').innerText"
    )
    assert '"status"' in body

    page.screenshot(tmp_path / f"{door}.png")
    assert page.problems == []
    assert f"{url}/health" in page.requests
    assert [request for request in page.requests if not request.startswith((f"{url}/", "data:"))] == []
