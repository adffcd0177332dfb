"""The passages of a date: one text has one role, in whatever files and documents it stands."""

import json
from itertools import combinations

import pyarrow.parquet as pq
import pytest
import yaml

from configs.load import load
from stages.evolve.pairs import EXAMPLE, ChoosePairs
from stages.evolve.passages import ROLES, GatherPassages, ReadPassages
from stages.evolve.roles import is_measured
from stages.record import SEED, Seed
from stages.seeds import list_sources
from stages.storage.shard import ShardSpec
from stages.storage.writer import ShardWriter
from tests.factories.evolve.collected import SENTENCES, collected, write_answers

LIMITS = dict.fromkeys(ROLES, 1000)
SHARE = 0.5


@pytest.fixture
def config(tmp_path):
    """A domain with two files of the same texts. A line is a document."""
    more = " ".join([SENTENCES] * 3)
    lines = [json.dumps({"text": f"Case {number} began in May. {more}"}) for number in range(300)]
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "out": str(tmp_path / "out"), "domains": ["law"]}))
    seeds = [{"path": str(tmp_path / f"{name}.jsonl"), "licence": "CC0-1.0"} for name in ("one", "two")]
    sets = [f"evolve={{measured_share: {SHARE}, min_rows: 4}}", "adapt.enabled=false", "screen.encoder=null"]
    return load(str(path), [*sets, "generator={backend: echo, model: echo}", f"domains.law.seeds={json.dumps(seeds)}"])


def files_of(root, name, body, schema, payload):
    """What a stage writes: the kept rows under the name of the first role, and the files beside them."""
    spec = ShardSpec(str(root), f"evolve/D/stages/{name}", 0, 1, "f", 1, json.dumps(payload), "law")
    out = ShardWriter(spec, schema)
    body.load()
    body.process(spec, out)
    record = out.commit()
    assert record.kept is not None
    return {ROLES[0]: record.kept} | record.sides


def gathered(root, config):
    """Files by role, of both sources."""
    slices = {}
    for number, source in enumerate(list_sources(config).files):
        payload = {"source": source.to_json(), "limits": LIMITS, "date": "2026-01-02"}
        files = files_of(root, f"passages-{number}", ReadPassages(config, lambda text: "en"), SEED, payload)
        for role, ref in files.items():
            slices.setdefault(role, []).append([ref, 0, ref.rows])
    slices = dict(sorted(slices.items()))  # the order in the payload does not matter
    files = files_of(root, "gathered", GatherPassages(), SEED, {"slices": slices})
    return files, slices


def seeds_of(root, ref):
    return [Seed(**row) for row in pq.read_table(root / ref.file).to_pylist()]


def test_a_text_in_two_files_has_one_role(tmp_path, config):
    files, slices = gathered(tmp_path, config)
    ids = {role: [seed.id for seed in seeds_of(tmp_path, files[role])] for role in ROLES}
    before = {role: {seed.id for ref, *_ in slices[role] for seed in seeds_of(tmp_path, ref)} for role in ROLES}
    assert before["probe"] & before["train"]
    for first, second in combinations(ROLES, 2):
        assert not {*ids[first]} & {*ids[second]}
    for role in ROLES:
        assert ids[role]
        assert len({*ids[role]}) == len(ids[role])
    assert {*ids["probe"]} == before["probe"]
    assert len([seed for role in ROLES for seed in ids[role]]) == 300


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_nothing_is_trained_on_what_the_date_is_measured_with(tmp_path, config, kind):
    files, slices = gathered(tmp_path, config)
    everything = [seed for role in ROLES for ref, *_ in slices[role] for seed in seeds_of(tmp_path, ref)]
    measured = {seed.id for role in ROLES if role != "train" for seed in seeds_of(tmp_path, files[role])}
    by_document = {seed.id for seed in everything if not is_measured(seed.document_id, SHARE)}
    assert measured & by_document, "other files say that it may be trained on"
    answers = [
        collected(number, n, seed_id=seed.id, document_id=seed.document_id, accepted=not n)
        for number, seed in enumerate(everything)
        for n in range(2)
    ]
    payload = {
        "kind": kind,
        "answers": [write_answers(tmp_path, "all", answers)],
        "passages": [ref for ref, *_ in slices["train"]],
        "measured": [ref for role, ref in files.items() if role != "train"],
    }
    body = ChoosePairs(config.evolve, lambda text, language: text)
    chosen = files_of(tmp_path, "pairs", body, EXAMPLE, payload)[ROLES[0]]
    learnt = {row["seed_id"] for row in pq.read_table(tmp_path / chosen.file).to_pylist()}
    assert learnt
    assert not learnt & measured
