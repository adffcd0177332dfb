"""Key files, clients by their keys, and addresses that a server without keys must not listen on."""

import hashlib
import hmac
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs.errors import ConfigError
from model.serve.access import ANONYMOUS, Client, KeyRing, check_bind
from model.serve.access import keys as keys_module

ANN, BEN = "ann-0123456789abcdef", "ben-0123456789abcdef"


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def test_a_key_a_line(tmp_path):
    ring = KeyRing.from_file(key_file(tmp_path, f"# of the team\n{ANN}\n\n  {BEN}  \n"))
    assert [ring.find(key) for key in (ANN, BEN)] == [Client("key-1"), Client("key-2")]
    assert ring.clients == (Client("key-1"), Client("key-2"))


def test_clients_with_limits_and_hashed_keys(tmp_path):
    hashed = hashlib.sha256(BEN.encode()).hexdigest()
    text = f"""
# comment
clients:
  - {{name: ann, key: [{ANN}, {ANN}-new], models: [law], policy: strict, requests_per_minute: 3, tokens_per_day: 100}}
  - name: ben
    key: sha256:{hashed.upper()}
"""
    ring = KeyRing.from_file(key_file(tmp_path, text, 0o640))
    ann = Client("ann", ("law",), "strict", 3, 100)
    assert [ring.find(key) for key in (ANN, f"{ANN}-new", BEN)] == [ann, ann, Client("ben")]
    assert ring.clients == (ann, Client("ben"))


@pytest.mark.parametrize("bearer", [None, "", "wrong", ANN[:-1], f"{ANN} ", ANN.upper(), "sha256:", "\ud800", "ключ"])
def test_a_missing_or_wrong_key_is_nobodys(tmp_path, bearer):
    assert KeyRing.from_file(key_file(tmp_path, f"{ANN}\n{BEN}")).find(bearer) is None


def test_the_hash_of_a_key_is_no_key(tmp_path):
    hashed = f"sha256:{hashlib.sha256(ANN.encode()).hexdigest()}"
    assert KeyRing.from_file(key_file(tmp_path, hashed)).find(hashed) is None


@pytest.mark.parametrize("bearer", [None, "", "whatever"])
def test_without_keys_all_are_anonymous(bearer):
    assert KeyRing().find(bearer) is ANONYMOUS
    assert KeyRing().clients == (ANONYMOUS,)
    assert not KeyRing().has_keys


@pytest.mark.parametrize("bearer", [None, ANN, BEN, "wrong"])
def test_every_key_is_compared_by_its_digest(tmp_path, monkeypatch, bearer):
    """Whichever key is right, the same comparisons of 32 bytes are made."""
    ring = KeyRing.from_file(key_file(tmp_path, f"{ANN}\n{BEN}"))
    compared = []

    def compare(known: bytes, given: bytes) -> bool:
        compared.append((len(known), len(given)))
        return hmac.compare_digest(known, given)

    monkeypatch.setattr(keys_module, "hmac", SimpleNamespace(compare_digest=compare))
    ring.find(bearer)
    assert compared == [(32, 32), (32, 32)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no key; `openssl rand -hex 24` makes one"),
        ("# nothing\n", "has no key"),
        ("short", "keys: key-1: the key has less than 16 characters"),
        ("two words of more than sixteen", "key-1: a key is one word of printable ASCII"),
        (f"{ANN}\n{ANN}", "key-2: has the key of key-1; each client needs a key of its own"),
        ("sha256:abcdef", "after sha256: 64 hexadecimal digits were expected"),
        ("clients: []", "clients: "),
        (f"clients:\n  - {{nmae: ann, key: {ANN}}}", "clients[0].nmae: unknown key, did you mean 'name'?"),
        ("clients:\n  - {name: ann}", "clients[0].key: missing"),
        ("clients:\n  - {name: ann, key: 1234567890123456}", "clients[0].key"),
        (f"clients:\n  - {{name: ann, key: {ANN}, requests_per_minute: 0}}", "requests_per_minute"),
        (
            f"clients:\n  - {{name: a, key: {ANN}}}\n  - {{name: a, key: {BEN}}}",
            "named twice: a; give one client a list",
        ),
        (f"clients:\n  - {{name: a, key: {ANN}}}\n  - {{name: b, key: {ANN}}}", "b: has the key of a"),
        (f"clients:\n  - {{name: a, key: {ANN}", "not YAML: line"),
        (f"clients:\n  - {{name: a, key: [{ANN}, {{}}]}}", "clients[0].key"),
    ],
)
def test_a_wrong_file_is_named_without_its_keys(tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        KeyRing.from_file(key_file(tmp_path, text))
    assert message in str(error.value)
    assert "keys" in str(error.value)
    for key in (ANN, BEN, "1234567890123456", "two words", "abcdef"):
        assert key not in str(error.value)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_file_that_others_read_is_refused(tmp_path, mode):
    path = key_file(tmp_path, ANN, mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        KeyRing.from_file(path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        KeyRing.from_file(tmp_path / "none")
    with pytest.raises(ConfigError, match="Is a directory"):
        KeyRing.from_file(tmp_path)
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="UTF-8"):
        KeyRing.from_file(path)


def test_reload_takes_new_keys_and_keeps_the_old_ones_if_it_cannot(tmp_path):
    path = key_file(tmp_path, ANN)
    ring = KeyRing.from_file(path)
    key_file(tmp_path, BEN)
    ring.reload()
    assert [ring.find(ANN), ring.find(BEN)] == [None, Client("key-1")]
    key_file(tmp_path, "short")
    with pytest.raises(ConfigError):
        ring.reload()
    assert ring.find(BEN) == Client("key-1")


def test_models_of_a_client():
    assert Client("a").may_use("anything")
    client = Client("a", models=("law", "base"))
    assert [client.may_use(name) for name in ("law", "law@0123456789ab", "base", "lawyer", "med@law", "")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.0.1", "localhost", "LOCALHOST", "::1", "[::1]", "::ffff:127.0.0.1"]
)
def test_without_keys_this_machine_may_be_served(host):
    check_bind(host, KeyRing())


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "[::]", "192.168.1.2", "10.0.0.1", "8.8.8.8", "::ffff:10.0.0.1", "localhost.example.org"],
)
def test_without_keys_no_other_machine_is_served(host, tmp_path):
    with pytest.raises(ConfigError, match=r"--api-key-file FILE .*, or use --host 127\.0\.0\.1"):
        check_bind(host, KeyRing())
    check_bind(host, KeyRing.from_file(key_file(tmp_path, ANN)))
