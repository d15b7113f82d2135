"""What tests of runs on rows of one's own start from."""

from pathlib import Path

import pytest
from record_run import write_initial


@pytest.fixture(scope="session")
def initial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_initial(tmp_path_factory.mktemp("initial"))
