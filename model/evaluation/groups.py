"""Groups of evaluated models: the seeds of one configuration, and their figures together."""

from collections.abc import Sequence
from typing import Any

from configs.errors import ConfigError
from model.evaluation.evaluated_model import EvaluatedModel
from model.evaluation.seeds import mean_and_error, ratio_and_error

Groups = dict[str, list[int]]  # places in the list of models, by the group's name


def group_models(models: Sequence[EvaluatedModel]) -> Groups:
    """Groups the models with the same label, and those without one that have the same configuration.

    A group without a label is named after its attention, with the shape where two would have the same name.

    Raises:
        ConfigError: a model is given twice, or two groups have the same name.
    """
    if len({model.folder.resolve() for model in models}) < len(models):
        raise ConfigError("--model: a folder is given twice; give each folder once, one for each seed")
    places_by_key: dict[tuple[str, ...], list[int]] = {}
    for place, model in enumerate(models):
        key = ("label", model.label) if model.label else ("config", model.family, model.attention)
        places_by_key.setdefault(key, []).append(place)
    unlabelled = [models[places[0]].attention for key, places in places_by_key.items() if key[0] == "config"]
    groups: Groups = {}
    for key, places in places_by_key.items():
        first = models[places[0]]
        name = first.label or first.attention
        if key[0] == "config" and unlabelled.count(first.attention) > 1:
            name = f"{first.attention} {first.shape}"
        if name in groups:
            raise ConfigError(f"--model: two groups are both {name!r}; give labels, such as {name}-2={first.folder}")
        groups[name] = places
    return groups


def dense_twin(groups: Groups, models: Sequence[EvaluatedModel], name: str) -> str | None:
    """Returns the dense group that differs from group `name` in nothing else; `name` itself where it is dense."""

    def kinds(places: Sequence[int]) -> set[tuple[str, str]]:
        return {(models[place].family, models[place].attention) for place in places}

    families = {family for family, _ in kinds(groups[name])}
    if len(families) != 1:
        return None
    twin = {(family, "dense") for family in families}
    itself_first = sorted(groups, key=lambda candidate: candidate != name)
    return next((candidate for candidate in itself_first if kinds(groups[candidate]) == twin), None)


def summarize_group(
    name: str, groups: Groups, models: Sequence[EvaluatedModel], results: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Returns a group's part of evaluation.json: the mean and standard error of each figure over its models.

    Args:
        name: of the group.
        groups: all groups.
        models: all models.
        results: the part of evaluation.json for each model.
    """
    members = [results[place] for place in groups[name]]
    twin = dense_twin(groups, models, name)
    twins = [results[place] for place in groups[twin]] if twin else []
    return {
        "name": name,
        "attention": sorted({models[place].attention for place in groups[name]}),
        "models": [member["model"] for member in members],
        "dense_twin": twin,
        "perplexity": {
            text: _perplexity(text, members, twins, is_dense=twin == name) for text in members[0]["perplexity"]
        },
        "retrieval": [_retrieval(place, members) for place in range(len(members[0]["retrieval"]))],
        "tasks": {task: _task(task, members) for task in members[0]["tasks"]},
    }


def _perplexity(
    text: str, members: Sequence[dict[str, Any]], twins: Sequence[dict[str, Any]], *, is_dense: bool
) -> dict[str, Any]:
    """`to_dense` is the ratio of perplexities to the group's dense twin."""
    scores = [member["perplexity"][text] for member in members]
    summary: dict[str, Any] = {}
    for key in ("perplexity", "bits_per_byte"):
        summary[key], summary[f"{key}_se"] = mean_and_error([score[key] for score in scores])
    if twins and all(text in member["perplexity"] for member in twins):
        dense = [member["perplexity"][text]["perplexity"] for member in twins]
        ratio = (1.0, None) if is_dense else ratio_and_error([score["perplexity"] for score in scores], dense)
        summary["to_dense"], summary["to_dense_se"] = ratio
    if "unigram" in scores[0]:
        summary["unigram_perplexity"] = mean_and_error([score["unigram"]["perplexity"] for score in scores])[0]
    return summary


def _retrieval(place: int, members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All seeds are asked for the same keys, so the error of a share is never below any model's own."""
    rows = [member["retrieval"][place] for member in members]
    share, error = mean_and_error([row["share"] for row in rows])
    return {
        "length": rows[0]["length"],
        "share": share,
        "share_se": max(error or 0.0, *(row["share_se"] for row in rows)),
        "nats": mean_and_error([row["nats"] for row in rows])[0],
        "found": sum(row["found"] for row in rows),
        "trials": sum(row["trials"] for row in rows),
    }


def _task(task: str, members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All seeds answer the same questions, so the error of an accuracy is never below the first model's."""
    rows = [member["tasks"][task] for member in members]
    summary: dict[str, Any] = {}
    for key in ("accuracy", "accuracy_per_byte"):
        value, error = mean_and_error([row[key] for row in rows])
        summary |= {key: value, f"{key}_se": max(error or 0.0, rows[0][f"{key}_se"])}
    return summary
