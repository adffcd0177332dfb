"""What tests of the HTML pages share: a parser, a data set whose every text is markup, and a running server."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.serve.listening import address, listen
from pipeline.pages import samples
from pipeline.pages.report_server import create_server
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest
from pipeline.store.registry import Check, Variant
from stages.record import ROW
from tests.factories.command_line import DATE
from tests.factories.evolve.registries import arm, variant, verdict, write_registry

LATER = "2026-01-03"
MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"


class Page(HTMLParser):
    """Tags, attributes and words of a page."""

    VOID = ("meta", "link", "br", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def plant_markup(data: DataSet) -> None:
    """Markup in every text of the manifest, of the rows and of the rejects."""
    path = data.manifest_path(DATE)
    manifest = json.loads(path.read_text("utf-8"))

    def plant(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: plant(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [plant(item, key) for item in value]
        return MARKUP if isinstance(value, str) and key not in ("file", "run_id", "date", "reference") else value

    for shard in manifest["shards"]:
        table = pq.read_table(data.root / shard["file"])
        for name in ROW.names:
            if ROW.field(name).type == pa.string() and name not in ("id", "domain", "seed_id"):
                table = table.set_column(ROW.get_field_index(name), name, pa.array([MARKUP] * table.num_rows))
        messages = [[{"role": MARKUP, "content": MARKUP}, {"role": "assistant", "content": MARKUP}]] * table.num_rows
        scores = [[{"filter": MARKUP, "score": 0.5}]] * table.num_rows
        for name, values in (("messages", messages), ("scores", scores)):
            table = table.set_column(
                ROW.get_field_index(name), name, pa.array(values, ROW.field(ROW.get_field_index(name)).type)
            )
        pq.write_table(table, data.root / shard["file"])
    for rejects in samples.rejects_files(data, Manifest.model_validate(manifest)):
        table = pq.read_table(rejects)
        for name in ("reason", "detail", "text"):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, pa.array([MARKUP] * table.num_rows))
        pq.write_table(table, rejects)
    for seeds in (data.run_folder(DATE) / "stages" / "seeds").glob("part-*.parquet"):
        if seeds.name.count(".") == 1:
            table = pq.read_table(seeds)
            for name in ("title", "location", "text"):
                place = table.schema.get_field_index(name)
                table = table.set_column(place, name, pa.array([MARKUP] * table.num_rows))
            pq.write_table(table, seeds)
    plant_verdicts(data)
    kept = ("domains", "date", "run_id", "seconds", "stages", "engines")
    manifest |= plant({key: manifest[key] for key in manifest if key not in kept})
    law = manifest["domains"]["law"]
    law["rejected"] = {MARKUP: 3}
    law["found"] = {MARKUP: 1}
    law["profile"] = {MARKUP: {"5": 3}, **law["profile"]}
    law["flow"]["seeds"]["rejected"] = {MARKUP: 2}
    law["flow"]["screen"]["rejected"] = {MARKUP: law["flow"]["screen"]["rejected"].get("x", 3)}
    manifest["domains"] = {"law": law, MARKUP: law}
    manifest["alarms"] = manifest["notes"] = [MARKUP]
    for name in ("sources", "licences", "tasks", "languages"):
        manifest[name] = {MARKUP: 5}
    manifest["versions"] = {MARKUP: MARKUP}
    path.write_text(json.dumps(manifest), "utf-8")


def plant_verdicts(data: DataSet) -> None:
    """A registry with markup in every text that a verdict may have."""
    champion = variant(1, task_weights={MARKUP: 1.5}, prompts={MARKUP: MARKUP}, trained_on={MARKUP: MARKUP})
    checks = [Check(name=MARKUP, passed=False, against=MARKUP, value=1.0, low=0.5, high=2.0, limit=0.1, meaning=MARKUP)]
    texts = {"reason": MARKUP, "kind": MARKUP, "decided": MARKUP, "base_sha256": MARKUP, "checks": checks}
    history = [
        verdict(1, "promoted", Variant(), champion, **texts | {"training": {MARKUP: 1.0}}),
        verdict(2, "refused", champion, variant(2), **texts),
        verdict(3, "kept", champion, None, **texts | {"kind": "freeze"}),
    ]
    write_registry(data.root, [v.model_copy(update={"arms": {**v.arms, MARKUP: arm(champion, 3)}}) for v in history])


def add_second_date(data: DataSet) -> None:
    """The same date once more under another one's name."""
    manifest = json.loads(data.manifest_path(DATE).read_text("utf-8"))
    data.manifest_path(LATER).write_text(json.dumps(manifest | {"date": LATER, "reference": DATE}), "utf-8")


@contextmanager
def running_server(data: DataSet) -> Iterator[str]:
    """The report server in a thread, on a free port of this machine; its URL."""
    with listen("127.0.0.1", 0) as listener:
        server = create_server(data, listener)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"{address(listener)}/"
        finally:
            server.should_exit = True
            thread.join()
