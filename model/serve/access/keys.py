"""Clients by their API keys, read from a file, and where a server without keys may listen."""

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ConfigError
from configs.load import parse_key_file
from model.serve.listening import is_loopback

_HASHED = re.compile(r"sha256:([0-9a-fA-F]{64})")
_MIN_KEY_CHARS = 16
_NEW_KEY = "`openssl rand -hex 24` makes one"


@dataclass(frozen=True)
class Client:
    """Who sends requests. Limits that are None are none. No client is an administrator: that takes the admin socket."""

    name: str
    models: tuple[str, ...] | None = None  # names of models and adapters without hashes; None: all
    policy: str | None = None
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None

    def may_use(self, model: str) -> bool:
        """Whether the client may use a model or adapter, by its name or its public id (`law@0123456789ab`)."""
        return self.models is None or model in self.models or model.partition("@")[0] in self.models


ANONYMOUS = Client("anonymous")


class KeyRing:
    """The keys of a server; plain keys are not kept. Without any, each request is the `ANONYMOUS` client's."""

    def __init__(self, keys: Sequence[tuple[bytes, Client]] = (), path: Path | None = None) -> None:
        self._keys = tuple(keys)  # SHA-256 of a key, and whose it is
        self._path = path

    @classmethod
    def from_file(cls, path: str | Path) -> "KeyRing":
        """Reads a key file: YAML with `clients`, or one key a line (`#` begins a comment).

        Raises ConfigError, without any key in it: the file cannot be read, others may read it, or a key is wrong.
        """
        file = Path(path).expanduser()
        try:
            mode = file.stat().st_mode
            text = file.read_text("utf-8")
        except OSError as error:
            raise ConfigError(f"--api-key-file: {file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"--api-key-file: {file} is not a text in UTF-8; save it as UTF-8") from None
        if os.name == "posix" and mode & (stat.S_IROTH | stat.S_IWOTH):
            raise ConfigError(f"--api-key-file: every user of this machine can read {file}; run `chmod 600 {file}`")
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        if not lines:
            raise ConfigError(f"--api-key-file: {file} has no key; {_NEW_KEY}")
        if re.fullmatch(r"[a-z_]+:|\{.*|---", lines[0]) or lines[0].startswith("clients:"):
            return cls(_of_clients(text, file), file)
        clients = [(Client(f"key-{number}"), line) for number, line in enumerate(lines, 1)]
        return cls(_digests(clients, file), file)

    @property
    def has_keys(self) -> bool:
        """Whether requests need a key."""
        return bool(self._keys)

    @property
    def clients(self) -> tuple[Client, ...]:
        """All clients, in the order of the file."""
        return tuple(dict.fromkeys(client for _, client in self._keys)) or (ANONYMOUS,)

    def find(self, bearer: str | None) -> Client | None:
        """The client of a key, or None if there is none. All keys are compared, whichever it is.

        `bearer` is what follows `Bearer ` in the header Authorization; None if there was no such header.
        """
        if not self._keys:
            return ANONYMOUS
        digest = hashlib.sha256((bearer or "").encode("utf-8", "surrogatepass")).digest()
        client = None
        for known, owner in self._keys:
            if hmac.compare_digest(known, digest):
                client = owner
        return client if bearer else None

    def reload(self) -> None:
        """Reads the file again. Raises ConfigError; then the keys are as they were."""
        if self._path is not None:
            self._keys = KeyRing.from_file(self._path)._keys


def check_bind(host: str, key_ring: KeyRing) -> None:
    """Raises ConfigError if a server without keys would listen where other machines can reach it."""
    if not key_ring.has_keys and not is_loopback(host):
        raise ConfigError(
            f"--host {host or '(all)'}: other machines could use the server without a key; "
            f"add --api-key-file FILE ({_NEW_KEY}), or use --host 127.0.0.1"
        )


def _of_clients(text: str, file: Path) -> list[tuple[bytes, Client]]:
    clients: list[tuple[Client, str]] = []
    for spec in parse_key_file(text, file.name).clients:
        client = Client(spec.name, spec.models, spec.policy, spec.requests_per_minute, spec.tokens_per_day)
        clients += [(client, key) for key in ((spec.key,) if isinstance(spec.key, str) else spec.key)]
    return _digests(clients, file)


def _digests(clients: list[tuple[Client, str]], file: Path) -> list[tuple[bytes, Client]]:
    owners: dict[bytes, Client] = {}
    for client, key in clients:
        where = f"--api-key-file: {file.name}: {client.name}"
        if key.startswith("sha256:"):
            hashed = _HASHED.fullmatch(key)
            if hashed is None:
                raise ConfigError(f"{where}: after sha256: 64 hexadecimal digits were expected")
            digest = bytes.fromhex(hashed[1])
        elif re.search(r"\s", key) or not key.isascii() or not key.isprintable():
            raise ConfigError(f"{where}: a key is one word of printable ASCII characters; {_NEW_KEY}")
        elif len(key) < _MIN_KEY_CHARS:
            raise ConfigError(f"{where}: the key has less than {_MIN_KEY_CHARS} characters; {_NEW_KEY}")
        else:
            digest = hashlib.sha256(key.encode()).digest()
        if digest in owners:
            raise ConfigError(f"{where}: has the key of {owners[digest].name}; each client needs a key of its own")
        owners[digest] = client
    return list(owners.items())
