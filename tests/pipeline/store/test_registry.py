"""The pointer of a domain follows from its verdicts: what each of them changes, and that a history can be replayed."""

import json
import os
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import InputError, StoreError
from pipeline.store.registry import DomainRegistry, Variant, next_pointer, replay
from pipeline.store.registry_files import Registry
from stages.storage.lock import HeldError
from tests.factories.data_sets import Killed, kill_at
from tests.factories.evolve.verdicts import BASE_SHA256, DATE_OF_VERDICT, check_of, variant_of, verdict_after

EMPTY = DomainRegistry(domain="law")


def after(*verdicts, pointer=EMPTY):
    """The pointer after verdicts: each a status, or a status and changes to the verdict."""
    for each in verdicts:
        status, changes = (each, {}) if isinstance(each, str) else each
        pointer = next_pointer(pointer, verdict_after(pointer, status, **changes))
    return pointer


def test_ids_are_of_what_changes_the_base_model():
    assert Variant().id == Variant(round=3, trained_on={"2026-01-02": "d"}).id == "base"
    assert Variant().is_base
    assert variant_of().id == variant_of(measured_share=0.2).id
    assert Variant.model_validate({}).measured_share is None, "of registries of earlier versions"
    others = [
        variant_of("one"), variant_of("two"), variant_of("one", task_weights={"qa": 0.5}),
        Variant(task_weights={"qa": 0.5}), Variant(prompts={"qa": "qa2"}),
    ]  # fmt: skip
    assert len({each.id for each in others}) == len(others)
    assert all(len(each.id) == 12 and not each.is_base for each in others)


def test_a_promotion_makes_the_challenger_champion():
    first = after(("promoted", {"challenger": variant_of("one"), "rejudge_dates": 3, "alpha": 0.015}))
    assert first == EMPTY.model_copy(
        update={
            "base_sha256": BASE_SHA256, "champion": variant_of("one"), "since": DATE_OF_VERDICT,
            "previous": (Variant(),), "attempts": 1, "vault_openings": 1, "rejudgements_left": 3, "last_verdict": 1,
        }
    )  # fmt: skip
    second = after(("promoted", {"challenger": variant_of("two")}), pointer=first)
    assert (second.champion, second.previous) == (variant_of("two"), (Variant(), variant_of("one")))
    assert (second.attempts, second.vault_openings, second.rejudgements_left) == (2, 1, 0)


def test_a_refusal_costs_an_attempt_and_the_vault_if_it_was_opened():
    pointer = after("refused", ("refused", {"alpha": 0.01}))
    assert (pointer.attempts, pointer.vault_openings, pointer.champion, pointer.last_verdict) == (2, 1, Variant(), 2)


def test_nothing_to_compare_changes_nothing_but_the_number():
    before = after("promoted")
    assert after("kept", pointer=before) == before.model_copy(update={"last_verdict": 2})


def test_a_rollback_goes_back_one_champion_and_at_last_to_the_base_model():
    names = ("one", "two")
    pointer = after(*(("promoted", {"challenger": variant_of(name), "rejudge_dates": 3}) for name in names))
    pointer = after(("rolled back", {"date": "2026-01-05"}), pointer=pointer)
    assert (pointer.champion, pointer.previous, pointer.since) == (variant_of("one"), (Variant(),), "2026-01-05")
    assert (pointer.rejudgements_left, pointer.rollbacks_in_a_row, pointer.frozen) == (0, 1, "")
    pointer = after("rolled back", pointer=pointer)
    assert (pointer.champion, pointer.previous, pointer.rollbacks_in_a_row) == (Variant(), (), 2)
    assert pointer.frozen.startswith("2 champions in a row were rolled back")


REJUDGED = ("kept", {"kind": "rejudge", "checks": (check_of(),)})
PROMOTED = ("promoted", {"rejudge_dates": 2})
TO_BASE = ("rolled back", {"kind": "to-base"})


@pytest.mark.parametrize(
    ("verdicts", "frozen"),
    [
        ([PROMOTED, "rolled back", PROMOTED, "rolled back"], True),
        ([PROMOTED, "rolled back", "refused", "kept", PROMOTED, REJUDGED, "rolled back"], True),
        ([PROMOTED, "rolled back", PROMOTED, REJUDGED, REJUDGED, PROMOTED, "rolled back"], False),
        ([PROMOTED, "rolled back", "promoted", "rolled back"], False),  # that champion is compared on no date
        ([PROMOTED, "rolled back", ("kept", {"kind": "unfreeze"}), PROMOTED, "rolled back"], False),
        ([PROMOTED, "rolled back", PROMOTED, TO_BASE, PROMOTED, TO_BASE], False),
        ([PROMOTED, "rolled back", PROMOTED, TO_BASE, PROMOTED, "rolled back"], True),
        ([PROMOTED, "rolled back"], False),
    ],
)
def test_two_rollbacks_in_a_row_freeze_unless_a_champion_in_between_proved_itself(verdicts, frozen):
    assert bool(after(*verdicts).frozen) == frozen


def test_a_champion_is_compared_again_on_as_many_dates_as_had_something_to_compare():
    pointer = after(("promoted", {"rejudge_dates": 2}), REJUDGED)
    assert pointer.rejudgements_left == 1
    assert after(("kept", {"kind": "rejudge"}), pointer=pointer).rejudgements_left == 1
    assert after(REJUDGED, pointer=pointer).rejudgements_left == 0
    assert after(REJUDGED, REJUDGED, REJUDGED, pointer=pointer).rejudgements_left == 0


def test_going_back_to_the_base_model_takes_one_step_and_is_no_rollback_in_a_row():
    pointer = after(PROMOTED, "promoted", PROMOTED)
    back = after(("rolled back", {"kind": "to-base", "date": "2026-02-01"}), pointer=pointer)
    assert (back.champion, back.previous, back.since) == (Variant(), (), "2026-02-01")
    assert (back.rejudgements_left, back.rollbacks_in_a_row, back.frozen) == (0, 0, "")
    assert (back.base_sha256, back.attempts) == (pointer.base_sha256, 3)


def test_freezing_keeps_the_champion_and_a_replaced_base_model_keeps_none():
    pointer = after(PROMOTED, ("kept", {"kind": "freeze", "reason": "a holiday"}))
    assert (pointer.frozen, pointer.champion.round) == ("a holiday", 1)
    thawed = after(("kept", {"kind": "unfreeze"}), pointer=pointer)
    assert (thawed.frozen, thawed.champion) == ("", pointer.champion)
    replaced = after(("kept", {"kind": "base", "base_sha256": "c" * 64, "date": "2026-02-01"}), pointer=pointer)
    assert (replaced.champion, replaced.previous, replaced.base_sha256) == (Variant(), (), "c" * 64)
    assert (replaced.since, replaced.attempts, replaced.frozen) == ("2026-02-01", 1, "a holiday")


DECISIONS = st.tuples(
    st.sampled_from(["promoted", "refused", "kept", "rolled back"]),
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(
                ["sft", "dpo", "tasks", "prompt", "rejudge", "rollback", "to-base", "freeze", "unfreeze", "base"]
            ),
            "alpha": st.none() | st.floats(0.001, 0.02),
            "rejudge_dates": st.integers(0, 3),
            "checks": st.sampled_from([(), (check_of(),)]),
            "reason": st.text(max_size=5),
        }
    ),
)


WRITES = ((os, "replace"), (os, "fsync"))


@pytest.fixture
def killed(monkeypatch):
    """Ends at the nth call that changes the disk."""
    return kill_at(monkeypatch, WRITES)


@settings(max_examples=25)
@given(decisions=st.lists(DECISIONS, max_size=8), deaths=st.lists(st.integers(1, 9), max_size=8))
def test_replaying_any_history_gives_the_pointer_that_commits_gave(tmp_path_factory, decisions, deaths):
    """Processes die at any write, and the next one goes on."""
    registry, expected = Registry(tmp_path_factory.mktemp("registry")), EMPTY
    for place, (status, changes) in enumerate(decisions):
        if expected.frozen and status == "promoted":
            status = "refused"
        verdict = verdict_after(expected, status, **changes)
        after_it = next_pointer(expected, verdict)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, WRITES)[0] = deaths[place] if place < len(deaths) else 10**9
            try:
                registry.commit(verdict)
            except Killed:
                assert registry.read("law") in (expected, after_it)
        assert registry.commit(verdict) == registry.read("law") == after_it
        expected = after_it
    history = registry.history("law")
    assert replay(EMPTY, history) == expected
    assert [verdict.number for verdict in history] == list(range(1, len(decisions) + 1))
    registry.pointer_path("law").unlink(missing_ok=True)
    assert registry.read("law") == registry.catch_up("law") == expected
    assert registry.pointer_path("law").exists() == bool(decisions)


def test_a_death_at_any_write_leaves_the_pointer_before_or_after(tmp_path, killed):
    outcomes = []
    for number in range(1, 100):
        registry = Registry(tmp_path / str(number))
        before = registry.commit(verdict_after(EMPTY, "refused"))
        verdict = verdict_after(before, "promoted")
        killed[0] = number
        try:
            registry.commit(verdict)
        except Killed:
            pass
        else:
            break
        finally:
            killed[0] = 10**9
        known = registry.read("law")
        outcomes.append(known.last_verdict)
        assert known == replay(EMPTY, registry.history("law"))
        assert registry.catch_up("law") == json_pointer(registry) == known
        with registry.lock("law"):
            assert not [path for path in registry.root.rglob(".tmp-*")]
        assert registry.commit(verdict).champion == verdict.challenger
    assert all(first <= second for first, second in pairwise(outcomes))
    assert set(outcomes) == {1, 2}


def json_pointer(registry):
    """What the pointer's file holds."""
    return DomainRegistry.model_validate(json.loads(registry.pointer_path("law").read_text("utf-8")))


def test_verdicts_are_never_changed(tmp_path):
    registry = Registry(tmp_path)
    verdict = verdict_after(EMPTY, "refused")
    registry.commit(verdict)
    content = registry.verdict_path("law", 1).read_bytes()
    registry.commit(verdict)
    with pytest.raises(StoreError, match=r"0001\.json: another verdict has this number; verdicts are never changed"):
        registry.commit(verdict.model_copy(update={"reason": "another one"}))
    assert registry.verdict_path("law", 1).read_bytes() == content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": 4}, "verdict 4 of law: the next one is 2"),
        ({"champion": Variant()}, "it is about base, but [0-9a-f]{12} is champion by now"),
        ({"base_sha256": "c" * 64}, "it judged the base model cccccccccccc, but the champion belongs to ba5eba5eba5e"),
    ],
)
def test_a_verdict_that_does_not_follow_is_refused_and_nothing_written(tmp_path, changes, message):
    registry = Registry(tmp_path)
    pointer = registry.commit(verdict_after(EMPTY, "promoted"))
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    with pytest.raises(StoreError, match=message):
        registry.commit(verdict_after(pointer, "promoted", **changes))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == files


def test_a_candidate_that_was_judged_while_somebody_froze_the_domain_is_not_promoted(tmp_path):
    registry = Registry(tmp_path)
    judged = registry.commit(verdict_after(EMPTY, "refused"))
    registry.freeze("law", "2026-01-03", "stop")
    verdict = verdict_after(judged, "promoted", number=3)
    with pytest.raises(
        StoreError, match=r"verdict 3 of law: the domain is frozen by now \(stop\), so its champion stays"
    ):
        registry.commit(verdict)
    assert registry.commit(verdict_after(registry.read("law"), "refused")).last_verdict == 3


def test_a_promotion_needs_a_challenger():
    with pytest.raises(ValueError, match="promoted, but without a challenger"):
        verdict_after(EMPTY, "promoted", challenger=None)


def test_what_people_do_by_hand_is_in_the_history(tmp_path):
    registry = Registry(tmp_path)
    with pytest.raises(StoreError, match="law: its champion is the base model already"):
        registry.rollback("law", "2026-01-03", "why not")
    with pytest.raises(StoreError, match="law: not frozen"):
        registry.unfreeze("law", "2026-01-03", "")
    registry.freeze("law", "2026-01-03", "no time to look at it")  # before any candidate
    with pytest.raises(StoreError, match=r"law: frozen already \(no time to look at it\)"):
        registry.freeze("law", "2026-01-03", "again")
    registry.unfreeze("law", "2026-01-04", "")
    registry.commit(verdict_after(registry.read("law"), "promoted"))
    registry.rollback("law", "2026-01-05", "its rows are dull")
    kinds = [(verdict.number, verdict.kind, verdict.status, verdict.reason) for verdict in registry.history("law")]
    assert kinds == [
        (1, "freeze", "kept", "no time to look at it"),
        (2, "unfreeze", "kept", "by hand"),
        (3, "sft", "promoted", "because"),
        (4, "rollback", "rolled back", "its rows are dull"),
    ]
    assert registry.read("law").champion.is_base
    assert registry.read("law") == replay(EMPTY, registry.history("law"))


def test_one_process_at_a_time_and_who_it_is(tmp_path):
    registry = Registry(tmp_path)
    with (
        registry.lock("evolving law on 2026-01-02"),
        pytest.raises(HeldError, match=f"a rollback: process {os.getpid()} on .* works on evolving law on 2026-01-02"),
        Registry(tmp_path).lock("a rollback"),
    ):
        pass
    with registry.lock("a rollback"):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "registry").write_text("a file")
    with (
        pytest.raises(StoreError, match=f"{tmp_path}/registry: cannot be written"),
        Registry(tmp_path).lock("a rollback"),
    ):
        pass


def test_domains_and_numbers_that_are_not_there(tmp_path):
    registry = Registry(tmp_path)
    assert registry.domains() == []
    assert registry.read("law") == EMPTY
    assert (registry.history("law"), registry.catch_up("law")) == ([], EMPTY)
    assert not registry.pointer_path("law").exists()
    with pytest.raises(InputError, match="law: no verdict 1; it has none yet"):
        registry.verdict("law", 1)
    registry.commit(verdict_after(EMPTY, "refused"))
    registry.commit(verdict_after(DomainRegistry(domain="a-b_2"), "refused"))
    (tmp_path / "registry" / "law (copy).json").write_text("{}")
    (tmp_path / "registry" / ".tmp-1.json").write_text("{}")
    assert registry.domains() == ["a-b_2", "law"]
    with pytest.raises(InputError, match="law: no verdict 0; it has 1 to 1"):
        registry.verdict("law", 0)
    for name in ("../law", "", ".law", "a/b", "Law", "law\n"):
        with pytest.raises(InputError, match="no name of a domain"):
            registry.read(name)


def test_which_verdict_an_adapter_comes_from(tmp_path):
    registry = Registry(tmp_path)
    one, two = variant_of("one"), variant_of("two")
    pointer = registry.commit(verdict_after(EMPTY, "promoted", challenger=one, date="2026-01-02"))
    pointer = registry.commit(verdict_after(pointer, "refused", challenger=two, date="2026-01-03"))
    heavier = one.model_copy(update={"task_weights": {"qa": 2.0}})
    registry.commit(verdict_after(pointer, "promoted", challenger=heavier, date="2026-01-04"))
    assert one.adapter
    assert two.adapter
    numbers = {
        before: getattr(registry.variant_by_adapter(one.adapter.sha256, before), "number", None)
        for before in ("2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05")
    }
    assert numbers == {"2026-01-02": 3, "2026-01-03": 1, "2026-01-04": 1, "2026-01-05": 3}
    refused = registry.variant_by_adapter(two.adapter.sha256)
    assert refused
    assert (refused.number, refused.status) == (2, "refused")
    assert registry.variant_by_adapter("f" * 64) is None
