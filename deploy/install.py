"""Installs a lock into the environment of this interpreter: `.venv/bin/python deploy/install.py requirements.lock`.

uv is faster than pip. It reads none of pip's settings, so it is given those that say where packages are; where
it fails all the same, pip installs.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

PIP = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
VARIABLES = {  # of uv, by pip's name of the setting
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
}


def pip_settings(listing: str) -> dict[str, str]:
    """uv's variables for what `pip config list` printed. pip's variables win over its files."""
    found: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{section}\.([\w-]+)='(.*)'$", listing, re.MULTILINE):
            if variable := VARIABLES.get(name):
                found[variable] = value.replace("\\n", " ").strip()
    return found


def main() -> int:
    lock = sys.argv[1]
    uv = next((line for line in Path(lock).read_text("utf-8").splitlines() if line.startswith("uv==")), None)
    if uv is not None and subprocess.run([*PIP, uv], check=False).returncode == 0:
        listing = subprocess.run([*PIP[:3], "config", "list"], capture_output=True, text=True, check=True).stdout
        # as pip chooses among indexes
        variables = {"UV_INDEX_STRATEGY": "unsafe-best-match"} | pip_settings(listing) | os.environ
        line = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable, "-r", lock]
        if subprocess.run(line, env=variables, check=False).returncode == 0:
            return 0
        print("uv could not install it: pip does, which takes minutes", file=sys.stderr)
    return subprocess.run([*PIP, "-r", lock], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
