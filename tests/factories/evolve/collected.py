"""Answers that dates collected, and passages, as committed files of a data set."""

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.evolve.answer import CollectedAnswer, arrow_schema
from stages.record import SEED, Seed
from stages.storage.checksum import sha256_file
from stages.storage.records import FileRef

SENTENCES = "The court heard the appeal. It set the order aside. The tenant keeps the flat until the lease ends."


def collected(passage: int, number: int, *, accepted: bool = True, **changes) -> CollectedAnswer:
    """Answer `number` to a passage; every passage is a document of its own."""
    prompt = json.dumps([{"role": "user", "content": f"Explain passage {passage}."}])
    values = {
        "id": f"candidate {passage} {number}",
        "seed_id": f"seed {passage}",
        "document_id": f"document {passage}",
        "domain": "law",
        "language": "en",
        "source": "cases",
        "task": "explain",
        "prompt": prompt,
        "answer": f"Answer {number} to passage {passage}.",
        "accepted": accepted,
        "reason": "" if accepted else "unsupported",
        "score": 0.0,
        "output_tokens": 9,
        "adapter": None,
        "date": "2026-11-21",
    }
    return CollectedAnswer(**values | changes)


def real_passage(number: int, **changes) -> Seed:
    """A passage of a document of its own."""
    values = {
        "text": f"Case {number} began in May. {SENTENCES}",
        "title": f"Case {number}",
        "source": "cases",
        "location": f"case {number}",
        "licence": "CC0-1.0",
        "language": "en",
        "domain": "law",
    }
    return Seed.create(**values | changes)


def write_answers(root: Path, name: str, answers: list[CollectedAnswer]) -> FileRef:
    """A committed file of a date."""
    return _write(root, f"pairs/{name}.parquet", answers, arrow_schema(CollectedAnswer))


def write_passages(root: Path, name: str, passages: list[Seed]) -> FileRef:
    """A committed file of passages."""
    return _write(root, f"passages/{name}.parquet", passages, SEED)


def _write(root: Path, file: str, rows: list, schema: pa.Schema) -> FileRef:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema), path)
    return FileRef(file, sha256_file(path), len(rows), path.stat().st_size)
