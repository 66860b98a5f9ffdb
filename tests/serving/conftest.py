"""One server for the tests of a file."""

from collections.abc import Iterator

import pytest
from serving_helpers import Running, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of a model of letters, `char`, and one of bytes, `byte`."""
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running
