"""How the environments are installed: with uv, told where pip looks; by pip where uv fails."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from deploy import install

LISTING = """
:env:.find-links='/wheels'
global.extra-index-url='https://one/simple https://two/simple'
global.find-links='/others'
global.index-url='https://global/simple'
global.timeout='60'
install.constraint='/etc/pins.txt'
install.index-url='https://install/simple'
"""


def test_uv_looks_where_pip_looks() -> None:
    assert install.pip_settings(LISTING) == {
        "UV_CONSTRAINT": "/etc/pins.txt",
        "UV_DEFAULT_INDEX": "https://install/simple",
        "UV_FIND_LINKS": "/wheels",
        "UV_INDEX": "https://one/simple https://two/simple",
    }
    assert install.pip_settings("") == {}


@pytest.mark.parametrize(
    ("failing", "expected"),
    [
        ("", ["pip install uv", "uv"]),
        ("uv", ["pip install uv", "uv", "pip"]),
        ("pip install uv", ["pip install uv", "pip"]),
    ],
)
def test_pip_installs_where_uv_cannot(tmp_path, monkeypatch, failing, expected) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text("numpy==2.0\nuv==0.9\n")
    called: list[str] = []

    def run(line, **options):
        if "config" in line:
            return SimpleNamespace(returncode=0, stdout=LISTING)
        name = "pip install uv" if line[-1] == "uv==0.9" else line[2]
        assert name == "pip install uv" or line[-2:] == ["-r", str(lock)]
        if name == "uv":
            assert options["env"]["UV_FIND_LINKS"] == "/wheels"
        called.append(name)
        return SimpleNamespace(returncode=int(name == failing))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["install.py", str(lock)])
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    assert install.main() == 0
    assert called == expected
