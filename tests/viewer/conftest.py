"""One browser for all tests of a module, whose console must stay silent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from viewer_browser import Tab, browser, program


@pytest.fixture(scope="package")
def whole_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if program() is None:
        pytest.skip("no chromium or chrome on this machine")
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def tab(whole_browser: Tab) -> Iterator[Tab]:
    """The browser's page; the test fails if the console says anything."""
    whole_browser.console.clear()
    yield whole_browser
    whole_browser.run("1")  # whatever the console said has arrived before the answer
    assert whole_browser.console == []
