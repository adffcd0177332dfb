"""Copies the registry to MLflow's model registry, for those who look for models there.

A domain is the registered model `gristmill-<data set>-<domain>`. Each candidate is a version of it, with the adapter's
files, the verdict and what identifies both as tags; the aliases `champion` and `previous` name the versions that the
pointer names. Without an alias the base model is in its place. Nothing is ever read back: the files are the registry.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from configs.errors import ConfigError, StoreError
from pipeline.store.dataset import DataSet
from pipeline.store.registry import DomainRegistry, EvolveVerdict, Variant
from pipeline.store.registry_check import adapter_fault
from pipeline.store.registry_files import Registry

FOLDER = "variant"  # of a version's files, in its run
VERDICT_TAG = "gristmill.verdict"
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # MLflow's 7 take minutes to say that nobody answers
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it would be between the lines of --json
}


@dataclass(frozen=True, slots=True)
class MirroredDomain:
    """What is in MLflow of one domain after a copy."""

    domain: str
    model: str  # the name of the registered model
    versions: int
    added: int
    aliases: dict[str, str]  # version by alias
    notes: tuple[str, ...]  # candidates whose files are gone


def mirror(data: DataSet, url: str) -> list[MirroredDomain]:
    """Adds to MLflow at `url` what it lacks of the registry. A second call changes nothing.

    Raises ConfigError when the URL is none of MLflow's or its client is not installed, StoreError when the service
    refuses or does not answer, or a champion's adapter is not as it was trained.
    """
    if not re.match("https?://", url):
        raise ConfigError(f"--to: {url!r} is no URL of an MLflow server; give http://HOST:PORT")
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mlflow":
            raise
        raise ConfigError("--to: MLflow's client is not installed; pip install 'gristmill[mlflow]'") from None
    with _speaking_to(url):
        client = MlflowClient(tracking_uri=url, registry_uri=url)
        return [_Mirror(data, client, domain).copy() for domain in Registry(data.root).domains()]


@contextmanager
def _speaking_to(url: str) -> Iterator[None]:
    """Turns what MLflow's client raises into a StoreError that names the server."""
    from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]
    from requests import RequestException

    try:
        yield
    except (MlflowException, RequestException) as error:
        cause = str(error).splitlines()[0]
        raise StoreError(
            f"--to: {url}: {cause}; check that an MLflow server answers there and that you may write to it, then call "
            "this again: what is copied already is kept"
        ) from None


class _Mirror:
    """One domain and MLflow's client."""

    def __init__(self, data: DataSet, client: Any, domain: str) -> None:
        self._data = data
        self._client = client
        self._domain = domain
        self._set = re.sub(r"[/:\x00-\x1f\"'`%]", "-", f"gristmill-{data.root.name}")  # what MLflow takes in names
        self._model = f"{self._set}-{domain}"

    def copy(self) -> MirroredDomain:
        registry = Registry(self._data.root)
        history, pointer = registry.history(self._domain), registry.read(self._domain)
        if not self._client.search_registered_models(f"name = '{self._model}'"):
            self._client.create_registered_model(self._model, {"gristmill.domain": self._domain})
        versions = self._versions()
        known = len(versions)
        notes = []
        for verdict in history:
            if verdict.challenger and verdict.number not in versions:
                versions[verdict.number], note = self._add(verdict, verdict.challenger)
                notes += [note] if note else []
        aliases = self._alias(pointer, history, versions)
        for name, value in (("champion", pointer.champion.id), ("frozen", pointer.frozen)):
            self._client.set_registered_model_tag(self._model, f"gristmill.{name}", value)
        added = len(versions) - known
        return MirroredDomain(self._domain, self._model, len(versions), added, aliases, tuple(notes))

    def _versions(self) -> dict[int, str]:
        """MLflow's version by the number of the verdict that it copies."""
        versions: dict[int, str] = {}
        token = None
        while True:
            page = self._client.search_model_versions(f"name = '{self._model}'", page_token=token)
            versions |= {int(each.tags[VERDICT_TAG]): each.version for each in page if VERDICT_TAG in each.tags}
            token = page.token
            if not token:
                return versions

    def _add(self, verdict: EvolveVerdict, variant: Variant) -> tuple[str, str]:
        """Copies a candidate's files, then registers them: this is the commit. Returns the version and a note or ""."""
        name = f"{self._domain}-{verdict.number:04d}"
        fault = adapter_fault(self._data, variant.adapter) if variant.adapter else ""
        if fault and verdict.status == "promoted":
            raise StoreError(
                f"{self._domain}: the adapter of verdict {verdict.number} is {fault}; see gristmill registry verify "
                f"--out {self._data.root}"
            )
        run = self._run(name)
        if variant.adapter and not fault:
            self._client.log_artifacts(run.info.run_id, str(self._data.root / variant.adapter.path), FOLDER)
        self._client.log_dict(run.info.run_id, verdict.model_dump(mode="json"), f"{FOLDER}/verdict.json")
        self._client.set_terminated(run.info.run_id)
        tags = {
            VERDICT_TAG: str(verdict.number),
            "gristmill.status": verdict.status,
            "gristmill.kind": verdict.kind,
            "gristmill.date": verdict.date,
            "gristmill.variant": variant.id,
            "gristmill.round": str(variant.round),
            "gristmill.base_sha256": verdict.base_sha256,
            "gristmill.adapter_sha256": variant.adapter.sha256 if variant.adapter else "",
        }
        version = self._client.create_model_version(
            self._model,
            source=f"{run.info.artifact_uri}/{FOLDER}",
            run_id=run.info.run_id,
            tags={tag: value for tag, value in tags.items() if value},
            description=verdict.reason,
            await_creation_for=0,  # the files are there already
        )
        note = f"{name}: its adapter is {fault}, so version {version.version} has the verdict alone" if fault else ""
        return version.version, note

    def _run(self, name: str) -> Any:
        """The MLflow run that holds a version's files. One that an interrupted copy left is used again."""
        experiment = self._client.get_experiment_by_name(self._set)
        number = experiment.experiment_id if experiment else self._client.create_experiment(self._set)
        runs = self._client.search_runs([number], f"tags.`gristmill.candidate` = '{name}'", max_results=1)
        return runs[0] if runs else self._client.create_run(number, tags={"gristmill.candidate": name}, run_name=name)

    def _alias(self, pointer: DomainRegistry, history: list[EvolveVerdict], versions: dict[int, str]) -> dict[str, str]:
        """Points the aliases to the versions of the champion and the one before it; returns those that there are."""
        current = dict(self._client.get_registered_model(self._model).aliases)
        wanted: dict[str, str] = {}
        for alias, variant in (("champion", pointer.champion), ("previous", next(iter(pointer.previous[::-1]), None))):
            promotions = [v.number for v in history if v.status == "promoted" and v.challenger == variant]
            if promotions:
                wanted[alias] = str(versions[promotions[-1]])
            if alias in wanted and wanted[alias] != str(current.get(alias)):
                self._client.set_registered_model_alias(self._model, alias, wanted[alias])
            elif alias not in wanted and alias in current:
                self._client.delete_registered_model_alias(self._model, alias)
        return wanted
