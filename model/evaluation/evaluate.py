"""`evaluate`: what `gristmill evaluate` runs. Measures and compares trained models on text that they have not seen.

<out>/evaluation.json    every figure with its settings
<out>/evaluation.png     perplexity by text, retrieval over length
<out>/lm_eval/           the tasks as lm-evaluation-harness reads them
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.evaluation import lm_eval_tasks
from model.evaluation.evaluated_model import EvaluatedModel
from model.evaluation.groups import group_models, summarize_group
from model.evaluation.held_out import HeldOutText, read_corpora
from model.evaluation.loaded_model import LoadedModel, Watch
from model.evaluation.options import EvaluationOptions
from stages.storage.atomic import write_text

FILLER_BYTES_PER_TOKEN = 16  # more than any tokenizer's average, so that the filler is long enough for retrieval


def evaluate(
    arguments: Sequence[str], shards: Sequence[Path], options: EvaluationOptions, out: Path, watch: Watch
) -> dict[str, Any]:
    """Measures every model, groups the seeds of one configuration, and writes the results to `out`.

    Args:
        arguments: the models, each as `DIR` or `label=DIR`.
        shards: of a data set whose held-out rows are scored too; may be empty.
        options: what is measured.
        out: the folder of the results.
        watch: is called with a line before each measurement.

    Returns:
        What evaluation.json contains.

    Raises:
        ConfigError: an option or a model's name is wrong.
        InputError: a folder, corpus or shard cannot be used.
        StoreError: the disk is full.
    """
    models = [EvaluatedModel.open(argument) for argument in arguments]
    groups = group_models(models)
    lm_eval_tasks.check(options.tasks)
    corpora_texts = {domain: read_corpora(domain, options.bytes) for domain in options.domains}
    filler_bytes = max(options.bytes, FILLER_BYTES_PER_TOKEN * options.max_length)
    filler = "\n\n".join(read_corpora(options.domains[0], filler_bytes).documents)
    tasks_folder = out / "lm_eval"
    if options.tasks:
        shutil.rmtree(tasks_folder, ignore_errors=True)
    tasks = {name: lm_eval_tasks.write(name, tasks_folder, options.questions) for name in options.tasks}
    results = []
    described = {name: _describe(text) for name, text in corpora_texts.items()}
    for model in models:
        loaded = LoadedModel(model, options, watch)
        data_texts, unigram = loaded.read_data_set(shards) if shards else ({}, None)
        perplexity = {}
        for name, text in (corpora_texts | data_texts).items():
            perplexity[name] = loaded.measure_perplexity(name, text, unigram)
            described[name] = _describe(text)
        results.append(
            {
                **loaded.about(),
                "perplexity": perplexity,
                **loaded.measure_retrieval(filler),
                "tasks": loaded.measure_tasks(tasks_folder),
            }
        )
    evaluation = {
        "status": "done",
        "models": results,
        "groups": [summarize_group(name, groups, models, results) for name in groups],
        "texts": described,
        "tasks": {name: asdict(task) for name, task in tasks.items()},
        "options": asdict(options),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "evaluation.json", json.dumps(evaluation, indent=1, ensure_ascii=False))
    from model.evaluation.plot import draw_evaluation

    draw_evaluation(evaluation, out / "evaluation.png")
    return evaluation


def _describe(text: HeldOutText) -> dict[str, Any]:
    return {"sources": text.sources, "documents": len(text.documents), "bytes": text.bytes}
