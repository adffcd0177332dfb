"""What a stage of a run is: one Beam job over the specifications of its shards.

`graph` decides which stages there are. `build_stage` turns the inputs of one into shards with fingerprints. A shard is
run again only when its fingerprint changes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from configs import schema
from configs.load import digest
from model import backends
from pipeline.store.manifest import AdapterResult
from pipeline.store.registry import Variant, VariantAdapter
from stages.body import StageBody
from stages.ports import ModelCard
from stages.storage.records import FileRef
from stages.storage.shard import ShardName, ShardSpec
from stages.storage.stage import Counts, StageKind, StageName

STAGES_VERSION = 14  # raise it when a stage's code gives other rows for the same input

MAX_DEPTH = 127  # of the type of the rows' column

NameStage = Callable[[str], StageName]  # from the name of a stage kind to that of the stage in a round and wave


@dataclass(frozen=True, slots=True)
class Context:
    """What a run depends on, fixed when the date is started."""

    config: schema.Config
    card: ModelCard
    encoder: ModelCard | None
    filters: dict[str, str]  # by name, the hash of what a filter reads: a head, evaluation sets
    root: Path
    date: str
    run_id: str
    used: list[FileRef]  # seeds of other dates
    index: list[FileRef]  # dedup keys of other dates
    threads: int
    champions: Mapping[str, Variant] = field(default_factory=dict)  # by domain, what its rows are written by
    folder: str = ""  # the run folder, relative to `root`; "": that of the date

    @property
    def stages(self) -> str:
        """The folder of the stages, relative to `root`."""
        return f"{self.folder or f'runs/{self.date}'}/stages"

    @property
    def fleet(self) -> bool:
        """Whether the stages that run the generator use a single process.

        vLLM's engines share the GPUs of this host, and two fleets of them would not know of each other. On a pool each
        host has its own.
        """
        run = self.config.run
        return backends.get(self.card.backend).owns_gpus and run.runner == "FnApiRunner" and run.pool is None

    def config_sections(self, *sections: str) -> dict[str, Any]:
        """Sections of the config as JSON, to be hashed. Renamed keys have their first names, so hashes stay."""
        return self.config.model_dump(mode="json", include=set(sections), by_alias=True)

    def generator_identity(self) -> dict[str, Any]:
        """What generated text depends on besides the config's sections: the weights, and options of the backend."""
        return {"model": self.card.sha256, "backend": self.card.backend, **self.config.generator.shard_identity()}


class ServedAdapter(NamedTuple):
    """An adapter that a domain's rows are written with, as its shards' payload has it, and the depth of these rows."""

    adapter: dict[str, str]
    depth: int

    @classmethod
    def create(cls, run: Context, adapter: AdapterResult | VariantAdapter, depth: int) -> "ServedAdapter":
        """`adapter`: one that was trained."""
        assert adapter.name is not None
        assert adapter.path is not None
        assert adapter.sha256 is not None
        payload = {"name": adapter.name, "path": str(run.root / adapter.path), "sha256": adapter.sha256}
        return cls(payload, min(depth, MAX_DEPTH))


@dataclass(frozen=True, slots=True)
class Stage:
    """One Beam job: its shards, and the body that runs on each of them."""

    name: StageName
    specs: list[ShardSpec]
    body: StageBody
    schema: pa.Schema
    compression_level: int = 3

    @property
    def kind(self) -> StageKind:
        """The kind of stage, as its body declares it."""
        return self.body.kind


@dataclass(frozen=True, slots=True)
class ShardInput:
    """The input of one shard: its payload, how many rows go in, and what its content depends on."""

    payload: dict[str, Any]
    rows: int = 0
    label: str = ""
    key: Any = None  # what is hashed; None: the payload


def build_stage(
    run: Context,
    name_stage: NameStage,
    body: StageBody,
    schema: pa.Schema,
    inputs: Sequence[ShardInput],
    identity: dict[str, Any],
    compression_level: int = 3,
) -> Stage:
    """Builds a stage with one shard for each input. `identity`: what all its shards depend on besides their inputs."""
    name = name_stage(body.kind.name)
    specs = [
        ShardSpec(
            root=str(run.root),
            folder=f"{run.stages}/{name}",
            number=number,
            total=len(inputs),
            fingerprint=digest(
                [STAGES_VERSION, str(name), identity, shard.payload if shard.key is None else shard.key]
            ),
            rows=shard.rows,
            payload=json.dumps(shard.payload),
            label=shard.label,
        )
        for number, shard in enumerate(inputs)
    ]
    return Stage(name, specs, body, schema, compression_level)


def keep_committed_names(stage: Stage) -> None:
    """Gives shards that read a source file the number and total under which an earlier start committed them.

    Both change when a file is added to a folder, but what a shard reads of its own file does not.
    """
    wanted = {spec.fingerprint: place for place, spec in enumerate(stage.specs) if not spec.record_path.exists()}
    if stage.kind.counts is not Counts.SEEDS or not wanted:
        return
    for record in Path(stage.specs[0].root, stage.specs[0].folder).glob("part-*.parquet.json"):
        name = ShardName.parse(record.name)
        if name is not None and name.record == record.name and name.fingerprint in wanted:
            place = wanted.pop(name.fingerprint)
            stage.specs[place] = stage.specs[place]._replace(number=name.number, total=name.total)
