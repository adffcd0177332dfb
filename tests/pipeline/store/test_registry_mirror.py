"""The registry in a real MLflow server: each candidate a version, champions by alias, nothing twice."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from configs.errors import StoreError
from model.weights.adapter import adapter_sha256
from pipeline import exit_codes
from pipeline.cli import main
from pipeline.store.dataset import DataSet
from pipeline.store.registry import DomainRegistry, Variant
from pipeline.store.registry_files import Registry
from pipeline.store.registry_mirror import mirror
from tests.factories.command_line import DATE
from tests.factories.data_sets import NEXT_DATE, Killed, publish_texts
from tests.factories.evolve.mlflow_server import serving_mlflow
from tests.factories.evolve.verdicts import BASE_SHA256, adapter_on_disk, variant_of, verdict_after


@pytest.fixture
def data(tmp_path):
    """Law: a promotion, a refusal whose adapter is gone, another promotion of other task weights."""
    data = DataSet(tmp_path / "my set: 100%")
    publish_texts(data, DATE, ["one"])
    first = Variant(adapter=adapter_on_disk(data.root, "first"), round=1)
    second = first.model_copy(update={"task_weights": {"qa": 0.5}})
    registry, pointer = Registry(data.root), DomainRegistry(domain="law")
    pointer = registry.commit(verdict_after(pointer, "promoted", challenger=first, reason="it saves bits"))
    pointer = registry.commit(verdict_after(pointer, "refused", challenger=variant_of("gone")))
    pointer = registry.commit(verdict_after(pointer, "kept", kind="rejudge"))
    registry.commit(verdict_after(pointer, "promoted", challenger=second, kind="tasks", date=NEXT_DATE))
    return data


@pytest.fixture(scope="module")
def mlflow():
    return pytest.importorskip("mlflow", reason="MLflow is not installed; requirements.lock has it")


@pytest.fixture(scope="module")
def server(mlflow, tmp_path_factory):
    with serving_mlflow(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.mark.slow
def test_a_registry_s_life_in_mlflow(data, mlflow, server, tmp_path, monkeypatch, capsys):
    client = mlflow.MlflowClient(tracking_uri=server, registry_uri=server)
    name, registry = "gristmill-my set- 100--law", Registry(data.root)

    def call():
        code = main(["registry", "mirror", "--out", str(data.root), "--to", server, "--json"])
        (domain,) = json.loads(capsys.readouterr().out)["domains"]
        assert (code, domain["domain"], domain["model"]) == (0, "law", name)
        return domain["added"], domain["versions"], domain["aliases"], domain["notes"]

    def state():
        versions = client.search_model_versions(f"name = '{name}'")
        return sorted((v.version, v.source, v.creation_timestamp, sorted(v.tags.items())) for v in versions)

    def aliases():
        return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}

    with monkeypatch.context() as patch:  # killed after the files and before the version
        patch.setattr(mlflow.MlflowClient, "create_model_version", lambda *_, **__: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            mirror(data, server)
    assert call() == (
        3,
        3,
        {"champion": "3", "previous": "1"},
        ["law-0002: its adapter is missing, so version 2 has the verdict alone"],
    )
    assert aliases() == {"champion": "3", "previous": "1"}
    (experiment,) = [each for each in client.search_experiments() if each.name != "Default"]
    assert len(client.search_runs([experiment.experiment_id])) == 3

    first = client.get_model_version_by_alias(name, "previous")
    adapter = registry.verdict("law", 1).challenger.adapter
    assert first.description == "it saves bits"
    assert first.tags == {
        "gristmill.verdict": "1", "gristmill.status": "promoted", "gristmill.kind": "sft", "gristmill.date": DATE,
        "gristmill.variant": registry.verdict("law", 1).challenger.id, "gristmill.round": "1",
        "gristmill.base_sha256": BASE_SHA256, "gristmill.adapter_sha256": adapter.sha256,
    }  # fmt: skip
    folder = Path(client.download_artifacts(first.run_id, "variant", str(tmp_path)))
    assert adapter_sha256(folder) == adapter.sha256
    assert json.loads((folder / "verdict.json").read_text())["reason"] == "it saves bits"
    assert client.get_model_version(name, "2").tags["gristmill.status"] == "refused"

    known = state()
    assert call() == (0, 3, {"champion": "3", "previous": "1"}, [])
    assert state() == known
    registry.rollback("law", NEXT_DATE, "too dull")
    assert call() == (0, 3, {"champion": "1"}, [])
    registry.rollback("law", NEXT_DATE, "still dull")
    assert call() == (0, 3, {}, [])
    assert (aliases(), state()) == ({}, known)
    tags = client.get_registered_model(name).tags
    assert tags["gristmill.champion"] == "base"
    assert tags["gristmill.frozen"].startswith("2 champions in a row")

    registry.unfreeze("law", NEXT_DATE, "enough")
    registry.commit(verdict_after(registry.read("law"), "promoted", challenger=variant_of("gone too")))
    with pytest.raises(StoreError, match="law: the adapter of verdict 8 is missing; see gristmill registry verify"):
        mirror(data, server)
    shutil.rmtree(data.root / "registry")
    assert mirror(data, server) == []


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow")
def test_a_server_that_does_not_answer_is_named(data, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreError, match=r"--to: http://127\.0\.0\.1:9: .*; check that an MLflow server answers there"):
        mirror(data, "http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["", "mlflow", "file:///tmp/mlruns", "s3://bucket"])
def test_what_is_no_url_of_a_server(data, url, capsys):
    assert main(["registry", "mirror", "--out", str(data.root), "--to", url]) == exit_codes.USAGE
    assert f"--to: {url!r} is no URL of an MLflow server; give http://HOST:PORT" in capsys.readouterr().err


def test_a_missing_client_names_the_extra(data, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert main(["registry", "mirror", "--out", str(data.root), "--to", "http://localhost:5000"]) == exit_codes.USAGE
    assert "pip install 'gristmill[mlflow]'" in capsys.readouterr().err
