"""`gristmill registry`: what people read of champions and verdicts, what they change, and what it says of errors."""

import json
import os
import re
from datetime import date

import pytest

from pipeline import exit_codes
from pipeline.cli import main
from pipeline.store.dataset import DataSet
from pipeline.store.registry import DomainRegistry, Variant
from pipeline.store.registry_files import Registry
from tests.factories.command_line import DATE
from tests.factories.data_sets import NEXT_DATE, publish_texts
from tests.factories.evolve.verdicts import adapter_on_disk, arm_of, check_of, variant_of, verdict_after
from tests.factories.manifests import domain_figures

REFUSED = {
    "reason": "no gain at equal cost",
    "challenger": variant_of("dull", round=2),
    "arms": {"base": arm_of(), "champion": arm_of(rightness=None), "challenger": arm_of(accepted=260, answers=0)},
    "checks": (
        check_of(
            name="utility_cost", value=-0.004, low=-0.01, high=0.002, limit=0.0, passed=False, meaning="Bits saved."
        ),
        check_of(name="coverage", meaning="Passages with accepted rows."),
    ),
    "training": {"best_step": 40.0},
}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Law has a champion, its adapter on disk, and a refusal; medicine has rows and no verdict."""
    monkeypatch.setenv("COLUMNS", "120")
    data = DataSet(tmp_path / "out")
    publish_texts(data, DATE, ["one"])
    publish_texts(data, NEXT_DATE, ["two"])
    manifest = data.manifest(DATE)
    assert manifest
    known = manifest.model_copy(update={"domains": {"law": domain_figures(), "medicine": domain_figures()}})
    data.manifest_path(DATE).write_text(known.to_json())
    adapter = adapter_on_disk(data.root, "first")
    champion = Variant(adapter=adapter, round=1, trained_on={DATE: manifest.digest}, task_weights={"qa": 0.5})
    second = data.manifest(NEXT_DATE)
    assert second
    written = second.model_copy(update={"champions": {"law": champion, "medicine": Variant()}})
    data.manifest_path(NEXT_DATE).write_text(written.to_json())
    registry = Registry(data.root)
    pointer = registry.commit(
        verdict_after(DomainRegistry(domain="law"), "promoted", challenger=champion, rejudge_dates=3, alpha=0.0152)
    )
    registry.commit(verdict_after(pointer, "refused", **REFUSED))
    return data


@pytest.fixture
def call(data, capsys):
    """Calls `gristmill registry … --out …`. Returns exit code, standard output and standard error."""

    def registry(*words, out=data.root):
        code = main(["registry", *map(str, words), "--out", str(out)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return registry


def champion(data):
    return Registry(data.root).read("law").champion


def test_list_names_the_champion_of_every_domain(data, call):
    code, out, _ = call("list")
    rows = [re.split(r"\s*[│┃]\s*", line)[1:-1] for line in out.splitlines() if "│" in line]
    state = "compared with the champion before it on 3 more dates"
    assert code == 0
    assert [[*row[:6]] for row in rows if row[0]] == [
        ["law", champion(data).id, "1", DATE, "2", "2"],
        ["medicine", "base", "0", "–", "0", "0"],
    ]
    assert " ".join(row[6] for row in rows) == f"{state} candidates are judged"
    pointers = json.loads(call("list", "--json")[1])
    assert [(each["domain"], each["champion"]["id"]) for each in pointers] == [
        ("law", champion(data).id),
        ("medicine", "base"),
    ]


def test_show_names_parents_and_verdicts(data, call):
    code, out, _ = call("show", "law")
    assert code == 0
    for words in (
        f"law: champion {champion(data).id}, since {DATE}",
        f"adapter {champion(data).adapter.path}, round 1",
        f"trained on {DATE}",
        "tasks by weight: qa 0.5",
        "before it: base",
        "no gain at equal cost",
    ):
        assert words in out
    shown = json.loads(call("show", "law", "--json")[1])
    assert [(each["number"], each["status"]) for each in shown["verdicts"]] == [(1, "promoted"), (2, "refused")]
    assert shown["previous"] == [json.loads(json.dumps(shown["verdicts"][0]["champion"]))]
    assert call("show", "medicine")[1].endswith("medicine: no verdict yet; the base model writes its rows\n")


def test_a_verdict_shows_its_checks_with_figures_and_intervals(data, call):
    code, out, _ = call("show", "law", 2)
    cells = [re.split(r"\s*[│┃]\s*", line)[1:-1] for line in out.splitlines() if "│" in line]
    assert code == 0
    assert out.startswith(f"law, verdict 2 of {DATE} (sft): refused\n  because no gain at equal cost\n")
    assert ["base", "400", "57.0%", "81.0%", "3", "281", "2.25", "2.5"] in cells
    assert ["champion", "400", "57.0%", "–", "3", "281", "2.25", "2.5"] in cells
    assert ["challenger", "0", "–", "81.0%", "3", "281", "2.25", "2.5"] in cells
    assert ["utility_cost", "base", "-0.004", "-0.01 to 0.002", "0", "NO"] in cells
    assert ["coverage", "base", "0.98", "–", "0.95", "yes"] in cells
    assert "utility_cost: Bits saved.\ncoverage: Passages with accepted rows.\n" in out
    assert "training: best_step 40" in out
    first = call("show", "law", 1)[1]
    assert "the vault was opened, at the level 0.0152" in first
    assert "checks" not in first
    verdict = json.loads(call("show", "law", 2, "--json")[1])
    assert (verdict["challenger"]["id"], verdict["checks"][0]["low"]) == (REFUSED["challenger"].id, -0.01)


def test_verify_exits_with_1_where_something_is_wrong(data, call):
    assert call("verify")[:2] == (0, "domains law; verdicts 2: all in order\n")
    Registry(data.root).verdict_path("law", 1).unlink()
    code, out, _ = call("verify")
    assert code == exit_codes.FAILED
    assert "0001.json: missing; restore it" in out
    assert out.endswith("domains law; verdicts 1: 1 wrong\n")
    code, out, _ = call("verify", "--json")
    assert (code, len(json.loads(out)["problems"])) == (exit_codes.FAILED, 1)


def test_a_rollback_during_a_run_is_for_later_dates(data, call):
    former = champion(data)
    lock = data.lock("2026-01-04")  # a run goes on
    try:
        code, out, _ = call("rollback", "law", "--reason", "its rows are dull")
    finally:
        os.close(lock)
    assert code == 0
    assert out.splitlines() == [
        f"law: now base, instead of {former.id}; runs that start from now on use it",
        f"law: {former.id} wrote {NEXT_DATE}; gristmill store rollback DATE --out {data.root} withdraws one",
    ]
    newest = Registry(data.root).history("law")[-1]
    assert (newest.kind, newest.reason, newest.champion) == ("rollback", "its rows are dull", former)
    assert date.fromisoformat(newest.date)
    code, _, err = call("rollback", "law", "--reason", "again")
    assert (code, err) == (
        exit_codes.FAILED,
        "gristmill: law: its champion is the base model already; there is nothing to roll back\n",
    )


def test_to_base_skips_all_champions_and_freezes_nothing(data, call):
    registry = Registry(data.root)
    for _ in range(2):
        registry.commit(verdict_after(registry.read("law"), "promoted", rejudge_dates=3))
    former = champion(data)
    code, out, _ = call("rollback", "law", "--to-base", "--reason", "another base model")
    assert code == 0
    assert out.startswith(f"law: now base, instead of {former.id}; runs that start from now on use it\n")
    pointer = registry.read("law")
    assert (pointer.previous, pointer.rollbacks_in_a_row, pointer.frozen) == ((), 0, "")
    assert registry.history("law")[-1].kind == "to-base"
    assert call("verify")[0] == 0
    code, _, err = call("rollback", "law", "--to-base", "--reason", "again")
    assert code == exit_codes.FAILED
    assert "its champion is the base model already" in err


def test_freeze_and_unfreeze(data, call):
    assert "frozen with the champion" in call("freeze", "law", "--reason", "a holiday")[1]
    assert "frozen: a holiday" in call("show", "law")[1]
    assert "frozen already (a holiday)" in call("freeze", "law", "--reason", "again")[2]
    assert "candidates are made again" in call("unfreeze", "law")[1]
    assert "law: not frozen" in call("unfreeze", "law")[2]
    frozen = json.loads(call("freeze", "medicine", "--reason", "too few rows", "--json")[1])
    assert (frozen["frozen"], frozen["champion"]["id"]) == ("too few rows", "base")
    assert json.loads(call("unfreeze", "medicine", "--json")[1])["frozen"] == ""


def test_a_second_rollback_in_a_row_says_that_it_froze_the_domain(data, call):
    registry = Registry(data.root)
    registry.commit(verdict_after(registry.read("law"), "promoted", rejudge_dates=3))
    assert "frozen" not in call("rollback", "law", "--reason", "one")[1]
    shown = json.loads(call("rollback", "law", "--reason", "two", "--json")[1])
    assert shown["dates"] == [NEXT_DATE]
    assert shown["frozen"].startswith("2 champions in a row were rolled back")
    assert "unfreeze" not in shown["frozen"]


def test_what_a_process_holds_is_said_with_its_name(data, call):
    with Registry(data.root).lock("evolving 2026-01-04"):
        for words in (("rollback", "law", "--reason", "x"), ("freeze", "law", "--reason", "x"), ("unfreeze", "law")):
            code, _, err = call(*words)
            assert code == exit_codes.HELD
            assert f"process {os.getpid()}" in err
            assert "works on evolving 2026-01-04" in err
        assert call("list")[0] == call("show", "law")[0] == call("verify")[0] == 0  # readers need no lock


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("show", "chess"), 2, "DOMAIN: {out} has no domain 'chess'; it has law, medicine"),
        (("rollback", "../law", "--reason", "x"), 2, "has no domain '../law'"),
        (("freeze", "chess", "--reason", "x"), 2, "has no domain 'chess'"),
        (("unfreeze", "chess"), 2, "has no domain 'chess'"),
        (("show", "law", "9"), 1, "law: no verdict 9; it has 1 to 2"),
        (("show", "medicine", "1"), 1, "medicine: no verdict 1; it has none yet"),
        (("show", "law", "two"), 2, "'NUMBER'"),
        (("rollback", "law"), 2, "Missing option '--reason'"),
        (("rollback", "medicine", "--reason", "x"), 1, "its champion is the base model already"),
    ],
)
def test_wrong_words_change_nothing(data, call, words, code, message):
    files = {path: path.read_bytes() for path in data.root.glob("registry/**/*.json")}
    result, out, err = call(*words)
    assert (result, out) == (code, "")
    assert message.format(out=data.root) in err
    assert {path: path.read_bytes() for path in data.root.glob("registry/**/*.json")} == files


@pytest.mark.parametrize("command", ["list", "verify"])
def test_a_folder_that_is_no_data_set_or_a_url(call, tmp_path, command):
    assert "is no data set" in call(command, out=tmp_path / "nowhere")[2]
    assert "is a URL; the registry is in the folder" in call(command, out="s3://bucket/x")[2]
