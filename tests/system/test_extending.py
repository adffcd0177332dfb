"""Adding to the packages costs what it should: each test adds one thing to a copy of them and uses it."""

from pathlib import Path

import pytest

from tests.factories.extended_copy import ExtendedCopy


@pytest.fixture
def copy(tmp_path: Path) -> ExtendedCopy:
    return ExtendedCopy(tmp_path / "gristmill")


def test_the_copy_runs_its_own_code(copy: ExtendedCopy) -> None:
    copy.write("filters/greeting.py", 'GREETING = "hello"\n')
    copy.insert_after(
        "filters/length.py", "from dataclasses import dataclass\n", "from filters.greeting import GREETING\n"
    )
    result = copy.python("-c", "import filters.length; print(filters.length.GREETING, filters.length.__file__)")
    assert result.code == 0, result.err
    assert result.out.split() == ["hello", str(copy.folder / "filters" / "length.py")]
    assert copy.changed == ["filters/greeting.py", "filters/length.py"]
