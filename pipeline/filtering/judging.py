"""`gristmill filter judge`: a generator of another family scores candidates of a data set, from 0 to 5 by a rubric.

A row is data to the judge: it is put between marks that its text cannot contain, without role tokens, and only one
JSON object of the rubric's own shape counts as a verdict.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow.dataset as ds
import yaml
from pydantic import ValidationError

from configs.errors import ConfigError, InputError
from configs.schema import Config, Language, Task
from filters.heads.labels import Label
from pipeline.store.dataset import DataSet
from pipeline.store.lineage import generating_stages, reading
from stages.answers import COMPLETE, read_completion
from stages.cores import usable_cores
from stages.ports import Completion, ModelCard, Request
from stages.prompt import parse, render
from stages.record import CANDIDATE, Candidate, content_id
from stages.storage.atomic import write_text
from stages.storage.shard import is_kept_file

ID = 32  # digits of a content id
_FENCED = re.compile(r"```(?:json)?\s*\n(.*)\n\s*```", re.DOTALL)
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")
_TAG = r"(?:passage|answer|system|user|assistant|human|model|tool\w*|instructions?|s|bos|eos|\w+_of_turn)"
_ROLE = re.compile(
    rf"<\s*[|｜][^<>\n]{{1,60}}[|｜]\s*>|<\s*/?\s*{_TAG}\b[^<>\n]{{0,60}}>|<<\s*/?SYS\s*>>"
    r"|\[\s*/?\s*(?:INST|SYS\w*|AVAILABLE_TOOLS|TOOL_\w+)\s*\]"
    r"|^[ \t#*>]*(?:system|assistant|user|human|系统|助手|用户|sistema|asistente|usuario)[ \t*]*[:：]",
    re.IGNORECASE | re.MULTILINE,
)
_PLAIN = str.maketrans("<>[]|｜:：", "‹›()¦¦––")
RUBRIC = Path(__file__).parents[2] / "configs" / "policies" / "rubric.yaml"


def judge(config: Config, data: str, labels: str, rows: int, rubric: str | None, *, as_json: bool) -> int:
    """Scores about `rows` candidates, kept and dropped alike, writes them as labels and prints the counts of scores.

    Raises ConfigError when the judge is the model that it judges, InputError when the data set has no candidates left.
    """
    from model.backends import identify, open_generator

    task, card = read_rubric(rubric), identify(config.generator)
    chosen = [row for row in sample(data, rows) if row.language in task.languages]
    own = [row for row in chosen if row.generator_sha256 == card.sha256]
    if own:
        raise ConfigError(
            f"generator.model: {card.name} wrote {len(own)} of these {len(chosen)} rows; a model prefers its own text: "
            "name a judge of another family"
        )
    generator = open_generator(config.generator.model_copy(update={"backend": card.backend}), card, usable_cores())
    try:
        completions = generator.generate([_request(task, row) for row in chosen])
    finally:
        generator.close()
    new_labels = [_label(task, card, row, completion) for row, completion in zip(chosen, completions, strict=True)]
    try:
        write_text(Path(labels), "".join(label.model_dump_json() + "\n" for label in new_labels))
    except OSError as error:
        raise InputError(
            f"--labels: cannot write {labels} ({error.strerror}); name a file that you may write"
        ) from None
    counts = Counter("unread" if label.score is None else f"{label.score:g}" for label in new_labels)
    if as_json:
        print(json.dumps({"labels": labels, "judge": card.name, "scores": counts}))
    else:
        print(
            f"{len(new_labels)} labels by {card.name} in {labels}: "
            + ", ".join(f"{k}: {counts[k]}" for k in sorted(counts))
        )
    return 0


def read_rubric(path: str | None) -> Task:
    """The shipped rubric, or your own. Raises ConfigError naming what is wrong with it."""
    file = Path(path) if path else RUBRIC
    try:
        return Task.model_validate(yaml.safe_load(file.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"--rubric: cannot read {file} ({error.strerror}); name a file like {RUBRIC}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"--rubric: {file} is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"--rubric: {file}: {where}: {first['msg'].lower()}; see {RUBRIC.name}") from None


def sample(data: str, rows: int) -> list[Candidate]:
    """Candidates of all dates whose run folder is there, as many of each domain and language, chosen by their ids."""
    keys_by_group: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in _candidates(data, ["id", "domain", "language"]):
        keys_by_group[row["domain"], row["language"]].append(content_id(row["id"]) + row["id"])
    if not keys_by_group:
        raise InputError(f"{data}: no run folder holds candidates; judge a data set while its folder `runs` is there")
    each = -(-rows // len(keys_by_group))
    wanted = {key[ID:] for keys in keys_by_group.values() for key in sorted(keys)[:each]}
    candidates = {row["id"]: row for row in _candidates(data, CANDIDATE.names) if row["id"] in wanted}
    return [Candidate(**candidates[name]) for name in sorted(candidates)]


def _candidates(data: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    runs = sorted(DataSet.open(data).root.glob("runs/*/stages"))
    stages = (folder for run in runs for folder in generating_stages(run))
    for path in (path for folder in stages for path in sorted(folder.glob("part-*.parquet"))):
        if is_kept_file(path.name):
            with reading(path, "remove it and its .json, and run the date again"):
                for batch in ds.dataset(path).to_batches(columns=columns):
                    yield from batch.to_pylist()


def _request(task: Task, row: Candidate) -> Request:
    mark = content_id("judge", row.passage, row.reply)[:16]  # a text cannot hold the hash of itself
    judged = {"answer": as_data(row.reply), "mark": mark}
    prompt = render(task, row.language, as_data(row.passage), "", 0, judged=judged)
    assert prompt is not None  # the rubric asks about whole passages
    return Request(row.id, prompt.messages, task.sampling, 0, json.dumps(task.answer))


def as_data(text: str) -> str:
    """The text as a reader sees it, without what a chat template or the rubric would take for a turn or a mark.

    Characters that are not shown go; tokens, tags and labels of roles lose their brackets and colons.
    """
    return _ROLE.sub(lambda match: match[0].translate(_PLAIN), _HIDDEN.sub("", text))


def verdict(task: Task, text: str) -> float | None:
    """The score of a judge's answer: one JSON object of the rubric's shape, fenced or bare; anything else is none."""
    text = text.strip()
    fenced = _FENCED.fullmatch(text)
    try:
        answer_json = json.loads(fenced[1] if fenced else text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    answer = parse(task, task.languages[0], json.dumps(answer_json))
    return None if answer.fields is None or answer.repaired else float(answer.fields["score"])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) != len(dict(pairs)):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _label(task: Task, card: ModelCard, row: Candidate, completion: Completion) -> Label:
    answer = read_completion(completion)
    return Label(
        id=row.id,
        text=row.reply or " ",
        domain=row.domain,
        language=cast(Language, row.language),
        score=verdict(task, answer.text) if answer.finish_reason in COMPLETE else None,
        by=f"judge:{card.name}",
    )
