"""SHA-256 of files."""

import hashlib
from pathlib import Path

from stages.storage.activity import working_on

BLOCK_BYTES = 1 << 20


def sha256_file(path: Path) -> str:
    """The hex SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
            working_on(f"reading {path}")
    return digest.hexdigest()
