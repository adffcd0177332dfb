"""Where a data set is: the folder that `out` names."""

import os
from pathlib import Path

from configs.errors import ConfigError


def folder_of(out: str) -> Path:
    """The absolute path of a data set, which need not exist yet. Raises ConfigError for what can be no folder."""
    root = Path(out).expanduser().absolute()
    try:
        str(root).encode()  # Arrow opens files by names in UTF-8
    except UnicodeEncodeError:
        raise ConfigError(f"out: the name of {root} is not UTF-8; choose another folder") from None
    if file := next((path for path in (root, *root.parents) if os.path.isfile(path)), None):
        raise ConfigError(f"out: {file} is a file; choose a folder")
    return root
