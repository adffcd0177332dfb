"""`gristmill evaluate`: what trained models know of text that they have not seen, alone and against each other.

<out>/evaluation.json    every figure with its settings
<out>/evaluation.png     perplexity by domain, retrieval over length
<out>/lm_eval/           the tasks as lm-evaluation-harness reads them
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from configs.errors import ConfigError, InputError
from model.data.shards import read_texts
from model.data.token_file import TokenFileHeader
from model.data.vocabulary import Vocabulary
from model.evaluation import lm_eval_tasks, passkey
from model.evaluation.evaluated_models import Contender, dense_twin, group, mean_and_error, ratio
from model.evaluation.held_out import Texts, read_real, read_rows
from model.evaluation.perplexity import Unigram, score
from model.lm.text_generator import TextGenerator
from stages.storage.atomic import write_text

WINDOW = 1024  # tokens, where a model's run does not say how long its sequences were
Watch = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """`window`, `stride`: tokens; where None, the sequence length of the model's training, and half the window."""

    domains: Sequence[str] = ("law", "medicine")
    bytes: int = 200_000  # of held-out text a domain
    window: int | None = None
    stride: int | None = None
    max_length: int = 1024  # longest text of retrieval, tokens
    trials: int = 8  # keys for each length and depth; 0: no retrieval
    tasks: Sequence[str] = ()
    questions: int = 200  # of a task; 0: all
    held_out: float | None = None  # share of --data; where None, the one that the model was trained with
    seed: int = 17

    def __post_init__(self) -> None:
        for name, least in (("bytes", 1), ("window", 2), ("stride", 1), ("trials", 0), ("questions", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"--{name}: {value} is too small; give {least} or more")
        if self.held_out is not None and not 0 < self.held_out < 1:
            raise ConfigError(f"--held-out: {self.held_out} is no share; give one between 0 and 1, such as 0.02")
        if self.trials:
            passkey.lengths(self.max_length)


def evaluate(
    asked: Sequence[str], shards: Sequence[Path], options: EvaluationOptions, out: Path, watch: Watch
) -> dict[str, Any]:
    """Measures every model (`DIR` or `label=DIR`), groups them, writes `out` and returns what evaluation.json holds.

    `shards`: of a data set, whose held-out rows are scored too; may be empty. `watch` gets a line a step. Raises
    ConfigError for wrong options, InputError for a folder, corpus or shard that cannot be used, StoreError when the
    disk is full.
    """
    contenders = [Contender.open(name) for name in asked]
    groups = group(contenders)
    lm_eval_tasks.check(options.tasks)
    real = {domain: read_real(domain, options.bytes) for domain in options.domains}
    filler = "\n\n".join(read_real(options.domains[0], max(options.bytes, 16 * options.max_length)).documents)
    tasks = out / "lm_eval"
    if options.tasks:
        shutil.rmtree(tasks, ignore_errors=True)
    asked_tasks = {name: lm_eval_tasks.write(name, tasks, options.questions) for name in options.tasks}
    rows, texts = [], {name: _about(of) for name, of in real.items()}
    for contender in contenders:
        watch(f"{contender.folder}: loading")
        subject = _Subject(contender, options)
        data, unigram = subject.read(shards, watch) if shards else ({}, None)
        scored: dict[str, Any] = {}
        for name, of in (real | data).items():
            watch(f"{contender.folder}: perplexity, {name}")
            scored[name] = subject.measure(of, unigram)
            texts[name] = _about(of)
        cells = subject.retrieve(filler, watch) if options.trials else []
        if options.tasks:
            from model.evaluation.lm_eval_model import run

            watch(f"{contender.folder}: {', '.join(options.tasks)}")
            network, encode = subject.model.network, subject.encode
            answered = run(network, encode, options.tasks, tasks, subject.window)
        else:
            answered = {}
        found = [asdict(row) | {"share": row.share, "share_se": row.error} for row in passkey.by_length(cells)]
        rows.append(
            subject.about()
            | {"perplexity": scored, "retrieval": found, "retrieval_cells": list(map(asdict, cells)), "tasks": answered}
        )
    result = {
        "status": "done",
        "models": rows,
        "groups": [_together(name, groups, contenders, rows) for name in groups],
        "texts": texts,
        "tasks": {name: asdict(task) for name, task in asked_tasks.items()},
        "options": asdict(options),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "evaluation.json", json.dumps(result, indent=1, ensure_ascii=False))
    from model.evaluation.plot import draw

    draw(result, out / "evaluation.png")
    return result


class _Subject:
    """A loaded model, its own tokenizer as in training, and what its run's folder says of it."""

    def __init__(self, contender: Contender, options: EvaluationOptions) -> None:
        self.contender, self.options = contender, options
        self.model = TextGenerator.from_pretrained(contender.folder)
        end = self.model.tokenizer.convert_ids_to_tokens(self.model.network.config.eos_token_id)
        self.vocabulary = Vocabulary.open(contender.folder, end)
        tokenizer = self.vocabulary.open_tokenizer()
        self.encode: Callable[[str], list[int]] = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        self.run = contender.folder.resolve().parent
        self.window = options.window or self._trained_length() or WINDOW
        self.stride = options.stride or max(self.window // 2, 1)

    def about(self) -> dict[str, Any]:
        network = self.model.network
        return {
            "model": str(self.contender.folder),
            "attention": self.contender.attention,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "tokenizer": self.vocabulary.sha256,
            "window": self.window,
            "stride": self.stride,
        }

    def measure(self, texts: Texts, unigram: Unigram | None) -> dict[str, Any]:
        documents = [self.encode(text) for text in texts.documents]
        network = self.model.network
        found: dict[str, Any] = score(network, documents, texts.bytes, self.window, self.stride).to_json()
        return found | {"unigram": unigram.score(documents, texts.bytes).to_json()} if unigram else found

    def read(self, shards: Sequence[Path], watch: Watch) -> tuple[dict[str, Texts], Unigram]:
        """The held-out rows by domain, and the baseline of all others."""
        share = self.options.held_out or self._share()
        watch(f"{self.contender.folder}: reading the data set")

        def trained() -> Iterator[list[int]]:
            for path in shards:
                for rows in read_texts(path, share):
                    for row in rows:
                        if not row.held_out:
                            yield self.encode(row.text)

        data = {f"{name}, data": of for name, of in read_rows(shards, share, self.options.bytes).items()}
        return data, Unigram(trained(), self.model.network.config.vocab_size)

    def retrieve(self, filler: str, watch: Watch) -> list[passkey.Cell]:
        options, folder = self.options, self.contender.folder
        tokens = self.encode(filler)
        return passkey.retrieve(
            self.model.network, self.encode, tokens, options.max_length, options.trials, options.seed,
            lambda length: watch(f"{folder}: retrieval, {length} tokens"),
        )  # fmt: skip

    def _trained_length(self) -> int | None:
        try:
            return int(yaml.safe_load((self.run / "config.yaml").read_text("utf-8"))["batch"]["length"])
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            return None

    def _share(self) -> float:
        """The held-out share in the header of the token files beside the model."""
        import pyarrow.parquet as pq

        for path in sorted((self.run / "tokens").glob("*.parquet")):
            header = TokenFileHeader.read(path, pq.read_metadata(path))
            if header.tokenizer_sha256 == self.vocabulary.sha256:
                return header.held_out
        raise InputError(
            f"{self.run / 'tokens'}: no token files of this model's tokenizer, so which rows it was not trained on is "
            "not known; give the share that it was trained with as --held-out"
        )


def _about(texts: Texts) -> dict[str, Any]:
    return {"sources": texts.sources, "documents": len(texts.documents), "bytes": texts.bytes}


def _together(
    name: str, groups: dict[str, list[int]], contenders: Sequence[Contender], rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Mean and standard error of each figure over the group's models.

    Keys and questions are the same for all seeds, so a share's error is never below that of one model's. The ratio of
    perplexities is to the dense group that differs in nothing else.
    """
    places = groups[name]
    mine, twin = [rows[place] for place in places], dense_twin(groups, contenders, name)
    dense = [rows[place] for place in groups[twin]] if twin else []
    scored: dict[str, Any] = {}
    for text in mine[0]["perplexity"]:
        of: dict[str, Any] = {}
        for key in ("perplexity", "bits_per_byte"):
            of[key], of[f"{key}_se"] = mean_and_error([row["perplexity"][text][key] for row in mine])
        if dense and all(text in row["perplexity"] for row in dense):
            above, below = ([row["perplexity"][text]["perplexity"] for row in side] for side in (mine, dense))
            of["to_dense"], of["to_dense_se"] = (1.0, None) if twin == name else ratio(above, below)
        if "unigram" in mine[0]["perplexity"][text]:
            of["unigram_perplexity"] = mean_and_error([r["perplexity"][text]["unigram"]["perplexity"] for r in mine])[0]
        scored[text] = of
    found = []
    for place, row in enumerate(mine[0]["retrieval"]):
        share, error = mean_and_error([other["retrieval"][place]["share"] for other in mine])
        whole = {key: sum(other["retrieval"][place][key] for other in mine) for key in ("found", "trials")}
        nats = mean_and_error([other["retrieval"][place]["nats"] for other in mine])[0]
        error = max(error or 0.0, *(other["retrieval"][place]["share_se"] for other in mine))
        found.append({"length": row["length"], "share": share, "share_se": error, "nats": nats, **whole})
    answered: dict[str, Any] = {}
    for task, row in mine[0]["tasks"].items():
        answered[task] = {}
        for key in ("accuracy", "accuracy_per_byte"):
            value, error = mean_and_error([other["tasks"][task][key] for other in mine])
            answered[task] |= {key: value, f"{key}_se": max(error or 0.0, row[f"{key}_se"])}
    return {
        "name": name,
        "attention": sorted({contenders[place].attention for place in places}),
        "models": [row["model"] for row in mine],
        "dense_twin": twin,
        "perplexity": scored,
        "retrieval": found,
        "tasks": answered,
    }
