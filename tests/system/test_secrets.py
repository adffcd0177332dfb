"""Keys, passwords and personal data show up in no file and no message of a run."""

import json
import os
import stat
from types import SimpleNamespace

import pytest

from configs.load import load
from stages.prompt import render
from tests.factories.chat_server import chat_server
from tests.factories.command_line import DATE, ONE_ROUND, call, gristmill
from tests.factories.data_sets import files_with
from tests.factories.documents import write_config, write_documents

KEY = "sk-proj-Zq7T3xW9pLm2Vb8Nc4Rd6Fh1Jk5"  # gitleaks:allow, invented
PASSWORD = "hunter-Zx81-Quartz"


@pytest.mark.slow
def test_a_key_is_in_no_file_and_no_word_of_a_run(tmp_path, monkeypatch):
    """A service that repeats the key as it refuses it is the worst of cases."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(20)))
    with chat_server() as server:
        sets = ["generator.backend=openai", "generator.model=m", f"generator.openai.base_url={server.url}"]
        sets += ["generator.openai.retries=0", "generate.tries=1", "domains.law.per_day=8"]
        line = ["run", "--config", config, "--date", DATE, "--json", *ONE_ROUND]
        line += [part for change in sets for part in ("--set", change)]
        results = []
        for fault in ("401", "400"):
            server.always, server.refusal = fault, json.dumps({"error": f"Incorrect API key provided: {KEY}"}).encode()
            results.append(gristmill(*line))
        server.always = None
        results.append(gristmill(*line))
        assert [result.code for result in results] == [1, 1, 0], results
        assert all(headers["Authorization"] == f"Bearer {KEY}" for headers, _ in server.seen)
    assert not [result for result in results if KEY in result.out + result.err]
    assert "[KEY]" in results[0].err
    assert files_with(tmp_path / "out", KEY) == []


@pytest.mark.parametrize(
    "change",
    [
        f"generator.openai.base_url=https://me:{PASSWORD}@api.example.com/v1",
        f'domains.law.seeds=[{{"path": "ftp://me:{PASSWORD}@example.com/d.jsonl", "licence": "CC0-1.0"}}]',
    ],
)
def test_a_password_in_a_url_is_refused_before_anything_is_written(tmp_path, change):
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(4)))
    result = call("run", "--config", config, "--date", DATE, "--json", "--set", change)
    assert result.code == 2
    assert "user name or password" in result.err
    assert PASSWORD not in result.out + result.err
    assert not (tmp_path / "out").exists()


def test_what_never_came_to_the_filters_is_masked_like_what_did(tmp_path):
    """The generator's own rejects: what could not be parsed, with its personal data and keys."""
    from functools import partial

    from configs.schema import FilterSpec
    from filters.build import redact
    from stages.generate import Generate, Generated
    from stages.ports import Completion, Request
    from stages.prompt import Answer
    from stages.record import Seed

    config = load("echo")
    specs = [FilterSpec(name="privacy"), FilterSpec(name="secrets")]
    secret, mail = f"api key: {KEY}", "juan.perez@hospital-clinico.es"
    task = config.tasks["explain"]
    seed = Seed.create("A passage.", title="", source="s", location="1", licence="x", language="en", domain="law")
    prompt = render(task, "en", seed.text, "", 0)
    request = Request("r", prompt.messages, task.sampling, 1)
    completion = Completion(f"Write to {mail}; {secret}", 1, 1, "stop")
    spec = SimpleNamespace(stage="generate")
    for chosen, masked in ((specs, True), ([], False)):
        body = Generate(config, SimpleNamespace(sha256="0"), lambda: None, partial(redact, chosen))
        parsed = Answer(None, "format", f"no JSON object: {mail}")
        generated = Generated(seed, task.name, 0, prompt, request, completion, None, parsed, 1, 1, 1)
        row = body._reject(spec, generated)
        assert (mail in row["text"] + row["detail"], KEY in row["text"]) == (not masked, not masked)
    empty = Generated(seed, task.name, 0, prompt, request, completion, None, Answer(None, "empty", ""), 1, 1, 1)
    assert body._reject(spec, empty)["detail"] == ""


def test_rows_before_they_are_masked_are_not_for_everyone(finished):
    mode = stat.S_IMODE((finished.out / "runs").stat().st_mode)
    assert mode & stat.S_IRWXO == 0
    assert (
        stat.S_IMODE((finished.out / "data").stat().st_mode) & 0o005 == 0o005 & ~os.umask(os.umask(0)) & 0o777 & 0o005
    )
