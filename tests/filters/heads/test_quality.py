"""The quality filter: its corruptions, its training on pages made here, and the head that is shipped."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from configs.errors import ConfigError
from configs.schema import FilterSpec
from filters.build import build_filters
from filters.heads import examples as quality_examples
from filters.heads.corruptions import CORRUPTIONS, Page, equalise
from filters.heads.evaluation import calibration, heuristics
from filters.heads.examples import (
    TUNING_BAD_PER_PAGE,
    Example,
    draw_pages,
    epoch_examples,
    labelled_examples,
    page_examples,
)
from filters.heads.features import prepared
from filters.heads.head import QualityHead
from filters.heads.labels import Label
from filters.heads.limits import MIN_ROWS, PRECISION, least_score, set_limits, sure_score
from filters.heads.logistic import fit, probability
from filters.heads.metrics import auc, f1, spearman, wilson
from filters.heads.training import TUNING_EPOCHS, Trainer, between_sources
from stages.ports import ModelCard
from stages.record import Seed
from tests.factories.candidates import EDGES, candidate
from tests.factories.encoders import BagOfPairs

SUBJECTS = ["The controller", "A judge", "The patient", "Every member", "The court", "A nurse", "The authority"]
VERBS = ["informs", "examines", "records", "rejects", "treats", "confirms", "measures"]
OBJECTS = ["the request", "a complaint", "the symptoms", "each decision", "the wound", "a contract", "the evidence"]
ENDS = ["without undue delay", "after three days", "in writing", "under article 5", "with care", "before the hearing"]


def pages(count=120):
    rng = random.Random(3)
    made = []
    for number in range(count):
        text = " ".join(
            f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)} {rng.choice(ENDS)}." for _ in range(12)
        )
        where = {"title": f"page {number}", "location": str(number), "licence": "MIT", "language": "en"}
        made.append(Seed.create(text, source=f"source-{number % 3}", domain=("law", "medicine")[number % 2], **where))
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("head") / "quality.json"
    return path, Trainer(page_examples(pages(), 17, 160), BagOfPairs(), 17).train(pages(), path)[1]


ES = "El juez examina la demanda. El paciente presenta fiebre alta. La norma, que es clara, obliga a todos. "
ZH = "劳动者解除劳动合同，应当提前三十日通知用人单位。用人单位应当支付经济补偿。国家保护合法权益。"
ZH_OTHER = "膀胱恶性肿瘤由泌尿科诊治。常见的症状有尿血、尿频。常用的药物有卡介苗。"
PAGE = {
    "en": Page(pages(1)[0].text, pages(2)[1].text, "en"),
    "es": Page(ES * 3, "Otra página distinta, que trata de barcos. El mar está en calma. " * 4, "es"),
    "zh": Page(ZH * 2, ZH_OTHER * 3, "zh"),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("language", PAGE)
def test_corruptions_change_the_text_and_repeat_themselves(kind, language):
    page = PAGE[language]
    made = CORRUPTIONS[kind](page, random.Random(5))
    assert made == CORRUPTIONS[kind](page, random.Random(5))
    assert equalise(made, 400) != equalise(page.text, 400)
    assert len(made) > 0.3 * len(page.text)


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("text", ["", "x", "Word", "法", "No end", ". . ."])
def test_corruptions_are_total(kind, text):
    assert isinstance(CORRUPTIONS[kind](Page(text, text, "en"), random.Random(1)), str)


def test_artefacts_are_equalised():
    assert equalise("  one ,two   three .  ", 100) == equalise("One,two three!", 100) == "One,two three"
    rows = page_examples(pages(), 17, 100)
    good = np.array([row.good for row in rows])
    assert abs(auc(np.array([len(row.text) for row in rows]), good) - 0.5) < 0.05
    assert not any(row.text[-1] in ".!?" or row.text != row.text.strip() for row in rows)
    assert {row.kind for row in rows} == {"", *CORRUPTIONS}


def test_logistic():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    y = (rng.random(400) < probability(2 * x[:, 0] - x[:, 1] + 0.5)).astype(int)
    weights, bias = fit(x, y, np.ones(400), 1e-6)
    assert np.allclose([*weights, bias], [2, -1, 0, 0.5], atol=0.5)
    assert auc(x @ weights + bias, y) > 0.8
    separable = fit(x, (x[:, 0] > 0).astype(int), np.ones(400), 1e-3)
    assert np.isfinite(separable[0]).all()
    assert probability(np.array([-1e4, 0, 1e4])).tolist() == [0, 0.5, 1]


def test_auc():
    assert auc(np.array([1, 2, 3, 4]), np.array([0, 0, 1, 1])) == 1
    assert auc(np.array([4, 3, 2, 1]), np.array([0, 0, 1, 1])) == 0
    assert auc(np.array([1, 1, 1, 1]), np.array([0, 1, 0, 1])) == 0.5
    assert np.isnan(auc(np.array([1.0]), np.array([1])))


def test_f1_is_of_what_is_called_good():
    assert f1(np.array([1.0, 1.0, -1.0, 1.0]), np.array([1, 0, 1, 1])) == pytest.approx(2 / 3)
    assert f1(np.array([-1.0, -1.0]), np.array([0, 0])) == 0


def test_the_report_measures_on_sources_left_out(trained):
    path, report = trained
    rows = {(row["split"], row["group"]): row for row in report}
    assert rows["held_out", "all"]["auc"] > 0.7
    assert abs(rows["held_out", "all"]["auc_length"] - 0.5) < 0.05
    assert {"language en", "domain law", "domain, language law en", "source source-0"} <= {
        group for split, group in rows if split == "held_out"
    }
    assert {group for split, group in rows if split == "unseen_kind"} == {f"kind {kind}" for kind in CORRUPTIONS}
    card = json.loads(path.read_text("utf-8"))["card"]
    assert card["report"] == report
    assert card["sources"] == {"source-0": 40, "source-1": 40, "source-2": 40}


def test_training_repeats_itself(trained, tmp_path):
    Trainer(page_examples(pages(), 17, 160), BagOfPairs(), 17).train(pages(), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == trained[0].read_bytes()


def test_one_source_is_too_few():
    one = [page for page in pages() if page.source == "source-0"]
    with pytest.raises(ValueError, match="two sources"):
        Trainer(page_examples(one, 17, 160), BagOfPairs(), 17)


def quality(path, **options):
    return build_filters([FilterSpec(name="quality", head=str(path), **options)], BagOfPairs)[0][1]


def test_the_filter_judges_by_the_head(trained):
    judge = quality(trained[0])
    good = candidate(pages()[7].text)
    bad = candidate("Hearing the examines days. " * 12)
    assert [verdict.reason for verdict in judge([good, bad])] == [None, "low_quality"]
    assert judge([bad])[0].score < judge([good])[0].score
    assert quality(trained[0], threshold=0)([bad])[0].reason is None
    assert quality(trained[0], threshold=1)([good])[0].reason == "low_quality"


def test_between_the_limits_a_row_is_unsure(trained, tmp_path):
    head = QualityHead.read(str(trained[0]))
    assert set(head.limits) == {"en", "law en", "medicine en"}
    assert all(0 <= least <= sure <= 1 for least, sure in head.limits.values())
    rows = [candidate(f"{pages()[n].text[:150]} {'Days hearing the. ' * k}") for n in range(8) for k in range(9)]
    scores = [verdict.score for verdict in quality(trained[0])(rows)]
    least, sure = sorted(scores)[20], sorted(scores)[50]
    replace(head, limits={"en": [least, sure]}).write(tmp_path / "h.json")
    judge = quality(tmp_path / "h.json")
    assert judge.limits("law", "en") == {"least": least, "sure": sure}
    for verdict in judge(rows):
        assert (verdict.reason == "low_quality") == (verdict.score < least)
        assert (verdict.findings == ("unsure_quality",)) == (least <= verdict.score < sure)
    dropped = [verdict.reason for verdict in quality(tmp_path / "h.json", unsure="drop")(rows)]
    assert (dropped.count("low_quality"), dropped.count("unsure_quality")) == (20, 30)
    assert judge.limits("law", "zh") == {}
    replace(head, limits={"en": [0.0, 1.0]}).write(tmp_path / "never.json")
    never = quality(tmp_path / "never.json", unsure="drop")(rows)
    assert {(verdict.reason, verdict.findings) for verdict in never} == {(None, ())}


def test_wilsons_bound():
    assert wilson(0.5, 0) == 0
    assert wilson(1, 10) == pytest.approx(0.787, abs=1e-3)  # Wilson's interval of 10 of 10, one-sided at 95 %
    assert wilson(0.9, 10) < wilson(0.9, 1000) < 0.9


def test_limits_are_set_where_scores_follow_the_labels():
    score = np.linspace(0, 1, 400)
    good = (score > 0.5).astype(int)
    assert 0.4 < sure_score(score, good) < 0.6
    assert 0.4 < least_score(score, good) < 0.6


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 500), st.floats(0, 0.5))
def test_limits_hold_their_precision(seed, count, noise):
    """With scores that follow the labels more or less: limits exist for a good part of the examples."""
    rng = np.random.default_rng(seed)
    score = rng.random(count)
    good = (score + noise * rng.standard_normal(count) > 0.5).astype(int)
    weight = np.where(good == 1, (good == 0).sum() / max(1, good.sum()), 1.0)
    sure, least = sure_score(score, good), least_score(score, good)
    if sure < 1:
        above = score >= sure
        assert above.sum() >= MIN_ROWS
        assert (weight * good)[above].sum() / weight[above].sum() >= PRECISION
    if least > 0:
        below = score <= least
        assert below.sum() >= MIN_ROWS
        assert (weight * (1 - good))[below].sum() / weight[below].sum() >= PRECISION


def test_limits_are_a_languages_and_a_domains():
    rng = np.random.default_rng(1)

    def texts(language, domain, spread):
        rows = [Example(str(n), n % 2, "", f"s{n % 4}", domain, language, n) for n in range(400)]
        return rows, [(row.good - 0.5) * 4 + rng.normal() * spread for row in rows]

    law, medicine, foreign = texts("en", "law", 1), texts("en", "medicine", 30), texts("zh", "law", 30)
    scales, limits = set_limits(foreign[0] + law[0], np.array(foreign[1] + law[1]))
    assert set(limits) == set(scales) == {"en", "law en"}, "a language that cannot be told is abstained from"
    clear = set_limits(*law[:1], np.array(law[1]))[1]
    assert set(clear) == {"en", "law en"}
    mixed = set_limits(law[0] * 20 + medicine[0], np.array(law[1] * 20 + medicine[1]))[1]
    assert mixed["medicine en"] == [0.0, 1.0], "never sure where it cannot tell"
    assert mixed["law en"] == [0.5, 0.5], "each limit alone would reach beyond the other"
    hard = set_limits(law[0] * 10, np.array([0.5 * value + rng.normal() for value in law[1] * 10]))[1]["law en"]
    assert 0 < hard[0] < hard[1] < 1


def test_calibration_mends_a_head_that_is_too_sure():
    rng = np.random.default_rng(2)
    rows = [Example(str(n), n % 2, "", f"s{n % 5}", "law", "en", n) for n in range(1000)]
    logit = np.array([8 * ((row.good - 0.5) + rng.normal()) for row in rows])
    (found,) = calibration(rows, logit, np.array([n % 5 for n in range(1000)]))
    assert found["ece_after"] < 0.06 < found["ece_before"]
    assert sum(mass for *_, mass in found["after"]) == pytest.approx(1, abs=0.01)


def test_labels_train_and_are_reported_apart(tmp_path):
    good = [Label(text=page.text[:300], domain="law", score=4, by="human") for page in pages()[:60]]
    bad = [Label(text="Hearing the examines days. " * 9, domain="law", score=1, by="human") for _ in range(60)]
    unread = [Label(text="x", domain="law", score=None, by="judge:q")]
    judged = [
        Label(text=page.text[200:500], domain="law", score=n % 6, by="judge:q") for n, page in enumerate(pages()[60:90])
    ]
    rows = page_examples(pages(), 17, 160) + labelled_examples([*good, *bad, *unread, *judged])
    _, report = Trainer(rows, BagOfPairs(), 17).train(pages(), tmp_path / "quality.json")
    found = {(row["split"], row["group"]): row for row in report}
    assert found["human", "all"]["rows"] == 120
    assert found["human", "all"]["auc"] > 0.9
    assert found["judge:q", "domain, language law en"]["rows"] == 30
    assert found["judge:q", "all"]["spearman"] is not None
    assert found["held_out", "all"]["rows"] == len(page_examples(pages(), 17, 160))
    card = json.loads((tmp_path / "quality.json").read_text("utf-8"))["card"]
    assert card["labels"] == {"human": 120, "judge:q": 30}
    assert card["pages"] == 120


def tuned_pairs():
    """A stand-in for a tuned encoder."""
    encoder = BagOfPairs()
    encoder.card = ModelCard("pairs", "3" * 64, "echo", "", 0)
    return encoder


def test_an_encoder_is_tuned_anew_for_every_fold(tmp_path):
    asked, told = [], []

    def tune(epochs, seed):
        asked.append((epochs, seed))
        return tuned_pairs()

    rows = page_examples(pages(), 17, 160)
    trainer = Trainer(rows, BagOfPairs(), 17, tune, folds=2, report_progress=told.append)
    encoder, report = trainer.train(pages(), tmp_path / "quality.json")
    assert encoder.card.sha256 == "3" * 64 == QualityHead.read(str(tmp_path / "quality.json")).encoder_sha256
    trainings = 2 + 3 * len(CORRUPTIONS) + 1
    assert len(asked) == trainings
    assert told[-1].endswith(f"{trainings} of about {trainings}")
    epochs, seed = asked[-1]
    assert (len(epochs), seed) == (TUNING_EPOCHS, 17)
    assert [epoch.texts for epoch in epochs] == [
        [row.text for row in rows]
    ] * TUNING_EPOCHS  # as they are: without pages
    assert {row["split"] for row in report} == {"held_out", "unseen_kind", "unseen_kind_known_source"}
    easier = [row for row in report if row["split"] == "unseen_kind_known_source"]
    assert [row["group"] for row in easier] == [f"kind {kind}" for kind in CORRUPTIONS]
    assert sum(row["rows"] for row in easier) < sum(row["rows"] for row in report if row["split"] == "unseen_kind") / 3


def test_tuning_epochs_are_fresh_and_the_same_again(monkeypatch):
    monkeypatch.setattr(quality_examples, "HARD_KINDS", ())  # which come again
    chosen, further = draw_pages(pages(), 17, 20)
    assert (len(chosen), len(further)) == (60, 30)
    first, again, second = (epoch_examples(chosen, range(60), tuple(CORRUPTIONS), 17, epoch) for epoch in (0, 0, 1))
    assert first == again
    assert not {row.text for row in first} & {row.text for row in second}
    made = 0
    for page in range(60):
        kinds = [{row.kind for row in of if row.page == page} - {""} for of in (first, second)]
        assert not kinds[0] & kinds[1]
        made += sum(map(len, kinds))
    assert (
        0.9 * 2 * 60 * TUNING_BAD_PER_PAGE < made <= 2 * 60 * TUNING_BAD_PER_PAGE
    )  # but for those that changed nothing
    assert {row.kind for row in epoch_examples(chosen, range(60), ("vague",), 17, 3)} == {"", "vague"}


def test_weak_corruptions_come_twice_as_often(monkeypatch):
    chosen, _ = draw_pages(pages(), 17, 40)
    turns = 10  # as many as the kinds and the weak one again
    monkeypatch.setattr(quality_examples, "HARD_KINDS", ("vague",))
    made = [
        row.kind for epoch in range(turns) for row in epoch_examples(chosen, range(120), tuple(CORRUPTIONS), 17, epoch)
    ]
    assert made.count("vague") == 2 * made.count("gibberish") == 2 * 120 * TUNING_BAD_PER_PAGE
    monkeypatch.setattr(quality_examples, "HARD_KINDS", ("vague", "drifted"))
    assert {row.kind for row in epoch_examples(chosen, range(120), ("vague", "padded"), 17, 0)} == {
        "",
        "vague",
        "padded",
    }


def test_a_tuning_epoch_knows_nothing_of_what_is_left_out():
    chosen, further = draw_pages(pages(), 17, 20)
    rows = page_examples(pages(), 17, 20)
    trainer = Trainer(rows, BagOfPairs(), 17, lambda epochs, seed: tuned_pairs(), 0, [*chosen, *further])
    source, kind = "source-1", "drifted"
    train = np.array([n for n, row in enumerate(rows) if row.source != source and row.kind != kind and row.page % 5])
    out_of = [item.text for item in chosen if item.source == source] + [
        item.text for n, item in enumerate(chosen) if n % 5 == 0
    ]
    known = {n for n, item in enumerate([*chosen, *further]) if item.source != source and (n % 5 or n >= len(chosen))}
    sentences_out = {part for text in out_of for part in text.rstrip(".").split(". ")}
    sentences_in = {part for n in known for part in [*chosen, *further][n].text.rstrip(".").split(". ")}
    for epoch in range(TUNING_EPOCHS):
        tuning_epoch = trainer.tuning_epoch(train, epoch)
        assert set(tuning_epoch.page.tolist()) == known
        made = epoch_examples([*chosen, *further], sorted(known), sorted(set(CORRUPTIONS) - {kind}), 17, epoch)
        assert list(tuning_epoch.texts) == [row.text for row in made]
        assert kind not in {row.kind for row in made}
        good = [text for text, y in zip(tuning_epoch.texts, tuning_epoch.good, strict=True) if y]
        assert not any(part in text for text in good for part in sentences_out - sentences_in)
        assert (tuning_epoch.weight * tuning_epoch.good).sum() == pytest.approx(
            (tuning_epoch.weight * (1 - tuning_epoch.good)).sum(), rel=0.2
        )


def test_labels_are_taught_in_every_epoch_as_they_are():
    labels = [Label(text=page.text[:300], domain="law", score=4, by="human") for page in pages()[:9]]
    chosen, further = draw_pages(pages(), 17, 20)
    rows = page_examples(pages(), 17, 20) + labelled_examples(labels)
    trainer = Trainer(rows, BagOfPairs(), 17, lambda epochs, seed: tuned_pairs(), 0, [*chosen, *further])
    for epoch in range(2):
        tuning_epoch = trainer.tuning_epoch(np.arange(len(rows)), epoch)
        assert list(tuning_epoch.texts[:9]) == [row.text for row in rows[-9:]]
        assert (tuning_epoch.page[:9] < 0).all()


def test_the_penalty_keeps_a_head_from_telling_sources_apart():
    rng = np.random.default_rng(4)
    source = np.repeat(np.array(["a", "b", "c", "d"]), 100)
    y = np.tile([0, 1], 200)
    place = np.repeat([0.0, 1.0, 2.0, 3.0], 100)[:, None]  # the source moves the first column alone, quality both
    x = place * np.array([1.0, 0.0]) + rng.normal(size=(400, 2)) + y[:, None] * np.array([2.0, 1.0])
    for unit in (1.0, 0.01):  # the penalty is on scores, whatever the columns' units
        penalty = between_sources(unit * x, y, source)
        free, bound = fit(unit * x, y, np.ones(400), 0.01)[0], fit(unit * x, y, np.ones(400), 0.01, 3 * penalty)[0]
        assert bound @ penalty @ bound < 0.5 * (free @ penalty @ free)
        assert auc(x @ bound, y) > 0.7
        assert np.array_equal(fit(unit * x, y, np.ones(400), 0.01, 0 * penalty)[0], free)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=40))
def test_spearman_is_the_correlation_of_ranks(pairs):
    left, right = (np.array(side, float) for side in zip(*pairs, strict=True))
    found = spearman(left, right)
    if len(set(left)) < 2 or len(set(right)) < 2:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(np.corrcoef(rankdata(left), rankdata(right))[0, 1])
        assert spearman(left, left) == pytest.approx(1)


@given(st.text(max_size=200))
def test_heuristics_are_total(text):
    assert np.isfinite(heuristics(text)).all()


def test_it_abstains_from_languages_without_a_threshold(trained):
    verdict = quality(trained[0])([candidate("谢谢谢谢谢谢谢谢", "zh")])[0]
    assert verdict.reason is None
    assert verdict.score is not None


def test_the_filter_is_total(trained):
    judge = quality(trained[0])
    batch = [candidate(text, language) for text in EDGES for language in ("en", "zh", "es")]
    assert judge(batch) == judge(batch)
    assert judge([]) == []


def test_heads_that_do_not_fit_are_named(trained, tmp_path):
    other = BagOfPairs()
    other.card = ModelCard("pairs", "2" * 64, "echo", "", 0)
    with pytest.raises(ConfigError, match=r"screen.filters\[0\].head: trained on pairs with weights 111111111111"):
        build_filters([FilterSpec(name="quality", head=str(trained[0]))], lambda: other)
    with pytest.raises(ConfigError, match=r"screen.filters\[0\].head: no such file .*quality-pairs.json"):
        build_filters([FilterSpec(name="quality")], BagOfPairs)
    (tmp_path / "bad.json").write_text('{"encoder": 1}', "utf-8")
    with pytest.raises(ConfigError, match="is not a quality head"):
        quality(tmp_path / "bad.json")


def test_the_shipped_head():
    from configs.schema import Encoder
    from model.encoder import open_encoder

    head = QualityHead.read("multilingual-e5-small")
    held_out = {row["group"]: row["auc"] for row in head.card["report"] if row["split"] == "held_out"}
    assert all(held_out[f"language {language}"] >= 0.75 for language in head.limits if " " not in language)
    judge = build_filters([FilterSpec(name="quality")], lambda: open_encoder(Encoder(), 2))[0][1]
    texts = {
        "en": "A written contract can be enforced for six years, counted from the day of the breach. The period starts"
        " again when the debtor acknowledges the debt in a signed letter.",
        "zh": "劳动者解除劳动合同，应当提前三十日以书面形式通知用人单位；在试用期内，提前三日通知即可。"
        "用人单位不得扣留工资。",
        "es": "El paciente presenta fiebre alta y dolor de cabeza desde hace tres días. El médico le receta reposo,"
        " líquidos abundantes y un antitérmico cada ocho horas.",
    }
    good = [candidate(text, language) for language, text in texts.items()]
    bad = []
    for row in good:
        tokens = list(prepared(row.text, row.language)) if row.language == "zh" else row.text.split()
        random.Random(2).shuffle(tokens)
        bad.append(candidate(("" if row.language == "zh" else " ").join(tokens), row.language))
    assert [verdict.reason for verdict in judge(good)] == [None, None, None]
    scores = [verdict.score for verdict in judge(good + bad)]
    assert all(left > right for left, right in zip(scores[:3], scores[3:], strict=True))
