"""The configuration as frozen pydantic models, one section a file. An unknown key is an error.

Read `section` (what all of them share) and `config` (the whole), then `domain`, `task`, `generator`, `screening` and
`operation`. `evolve` is the self-evolving loop's section, `lora` how adapters are trained. In files of their own:
`training` (the language model's configuration), `policy` (the filter `safety`), `serving` (a server's policies and
keys) and `audit_rubric` (what readers of an audit are asked).
"""

from configs.schema.config import Adapt, Config, Dedup, Generate, Shards
from configs.schema.domain import Domain, Passages, Source
from configs.schema.evolve import Evolve, Gate
from configs.schema.generator import EchoOptions, Generator, OpenAIOptions, VllmOptions
from configs.schema.lora import Lora
from configs.schema.operation import Dask, Drift, Metrics, Price, Run
from configs.schema.screening import CASCADE, Encoder, FilterSpec, Screen
from configs.schema.section import Language, Name, Section
from configs.schema.task import Message, Sampling, Task

__all__ = [
    "CASCADE",
    "Adapt",
    "Config",
    "Dask",
    "Dedup",
    "Domain",
    "Drift",
    "EchoOptions",
    "Encoder",
    "Evolve",
    "FilterSpec",
    "Gate",
    "Generate",
    "Generator",
    "Language",
    "Lora",
    "Message",
    "Metrics",
    "Name",
    "OpenAIOptions",
    "Passages",
    "Price",
    "Run",
    "Sampling",
    "Screen",
    "Section",
    "Shards",
    "Source",
    "Task",
    "VllmOptions",
]
