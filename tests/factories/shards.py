"""Committed shards, made by a stage's body without a run: of candidates, and of ten small rows."""

import json

import pyarrow as pa

from stages.execute import RunShard
from stages.record import Candidate
from stages.storage.shard import ShardSpec
from stages.storage.writer import ShardWriter

WORDS = [
    "the",
    "court",
    "held",
    "that",
    "a",
    "contract",
    "made",
    "under",
    "duress",
    "is",
    "voidable",
    "at",
    "the",
    "option",
    "of",
    "the",
    "party",
    "whose",
    "consent",
    "was",
    "so",
    "obtained",
    "and",
    "damages",
    "follow",
    "where",
    "the",
    "other",
    "side",
    "knew",
    "or",
    "should",
    "have",
    "known",
    "of",
    "the",
    "threat",
    "at",
    "that",
    "time",
    "while",
    "the",
    "remedy",
    "lapses",
    "when",
    "the",
    "party",
    "affirms",
    "the",
    "bargain",
    "after",
    "the",
    "pressure",
    "has",
    "ceased",
    "to",
    "operate",
    "upon",
    "its",
    "mind",
]
PLAIN_TEXT = " ".join(WORDS)


def candidate(name, reply, text="a prompt\n"):
    plain = {key: "" for key in Candidate.__slots__} | {"rejected": None, "adapter": None, "scores": []}
    numbers = dict.fromkeys(("seed", "prompt_tokens", "output_tokens", "depth"), 1)
    messages = [{"role": "user", "content": f"prompt of {name}"}, {"role": "assistant", "content": reply}]
    named = {"id": name, "text": text + reply, "messages": messages if reply else [], "parents": ["s"], "domain": "law"}
    return Candidate(**plain | numbers | named)


class WriteRows:
    def __init__(self, rows):
        self._rows = rows

    def load(self):
        return None

    def process(self, spec, out):
        out.rows_in = len(self._rows)
        out.keep_rows(self._rows)


def commit_shard(root, stage, number, schema, body, payload):
    spec = ShardSpec(str(root), f"runs/{stage}", number, 9, "f", 0, json.dumps(payload), "law")
    out = ShardWriter(spec, schema)
    body.load()
    body.process(spec, out)
    return out.commit()


TEN_ROWS = pa.schema([("id", pa.string()), ("text", pa.string())])


class TenRows:
    """The body of a stage that keeps nine rows, rejects one, and writes a side file."""

    def load(self):
        return None

    def process(self, spec, out):
        out.rows_in = 10
        for start in (0, 5):
            rows = [{"id": str(i), "text": f"row {i} " * 50} for i in range(start, min(start + 5, 9))]
            out.keep(pa.Table.from_pylist(rows, TEN_ROWS))
        reject = {"id": "9", "seed_id": "", "domain": "law", "stage": "s", "reason": "bad", "detail": "", "text": ""}
        out.reject([reject])
        out.side("index", pa.table({"key": pa.array([1, 2], pa.uint64())}))


def run_shard(spec, body=None, attempts=3):
    """Runs the shard as a worker does. Returns the paths of records that it has committed."""
    work = RunShard(body or TenRows(), TEN_ROWS, attempts, 3)
    work.setup()
    return list(work.process(spec))


def spec_in(folder):
    """The specification of a shard of ten rows in a data set."""
    return ShardSpec(str(folder), "runs/stages/one", 0, 1, "abc", 10, "{}")
