"""English words that the rest of the sentence decides, or that mean something else there, stay."""

import pytest

from stages.edits import find_edits
from stages.targets import targets


def changes(sentence: str) -> set[tuple[str, str | None]]:
    return {(edit.old, edit.new) for draw in range(6) for edit in find_edits(sentence, "en", draw)}


@pytest.mark.parametrize(
    ("sentence", "old"),
    [
        ("Elevated circulating calcitonin concentration: Concentration of calcitonin above the upper limit.", "above"),
        ("Induced vaginal delivery: Vaginal delivery following induction of labor by any procedure.", "following"),
        ("Hyperparakeratosis: Abnormal keratinization of the horny layer with increased keratin formation.", "with"),
        ("Under hyperglycemia the role of high glucose in the activation of the receptor was explored.", "high"),
        ("Only one patient developed subsequent haemorrhage after the administration of the medicine.", "after"),
        ("The cells showed less migration in presence of the compound compared to the stimulus alone.", "presence"),
        ("Keratin forms with preserved nuclei, a thick layer, and absence of the granular layer.", "with"),
        ("The mineral lies in the intimal or medial layer of the vessel wall of the abdominal aorta.", "medial"),
        ("The members shall be chosen in such constituencies as may be prescribed by Parliament.", "may"),
        ("The State shall be responsible for the supervision unless the other State decides otherwise.", "shall"),
        ("Where the notification is not made within the period, it shall state the reasons for the delay.", "is not"),
        ("The data on the interval were correlated with the control of the disease in all the groups.", "were"),
        ("The parties keep their right to bring the matter before a court of the other State.", "right"),
        ("The stay was lifted once the appeal was resolved by the court of the other district.", "once"),
        ("The record shows more clearly that the officers knew of the order of the court.", "more"),
        ("The act bars those who hold criminal convictions from the office of a public notary.", "criminal"),
        ("Elevated hematocrit: The share of red cells in the blood is outside the upper limit of the range.", "is"),
        ("Arterial tortuosity: Presence of more twists of the arteries than in others of the same age.", "more"),
        ("Reduced elasticity: A medium loss of the elasticity of the skin of the face and of the neck.", "Reduced"),
        ("The findings are better than a year ago, but there is still some arthritis in the knee.", "better"),
        ("Consumption was not associated with the outcome in the older women of the cohort (P = 0.18).", "was not"),
        ("The charity will advocate before the ICC and in the courts of the states of the region.", "before"),
        ("The prisoner brought a civil rights action against the officers of the county jail.", "civil"),
        ("The city paid back wages to the terminated employees of the two departments.", "employees"),
        ("The state failed to provide services that would allow the children to stay at home.", "would"),
        ("The site of the tumours was not associated with the result of the operation (P = 0.18).", "0.18"),
        ("On May 11 the defendants filed a motion to dismiss for failure to state a claim.", "failure"),
        ("The representatives of each State in the Council of States shall be elected by its assembly.", "Council"),
        ("A member which has not objected within the period shall be deemed to be in agreement.", "has not"),
        ("Examples include disregard for social conventions, impulsivity, and poor assessment of risks.", "include"),
        ("The plaintiff voluntarily dismissed the case after she and her daughter were reunited.", "dismissed"),
        ("Imaging strongly predicted the measurement of the surgeon in all groups (r=0.81).", "0.81"),
        ("Nerve palsy often presents with diplopia, which is a double vision of objects side by side.", "is"),
        ("Both strands of the duplex are tethered together, thus preventing the unwinding of the strand.", "are"),
        ("The transplantation is possible due to an adequate suppression of the immune response.", "is"),
        ("The form of the substance is described by its name, as vernix means varnish in Latin.", "is"),
        ("Two of these four patients had complications that were related to the instruments.", "four"),
        ("Depending on the severity the appearance of the bone can range from a notch to two bones.", "can"),
        ("All of the issues were either addressed by the plan, or had been addressed by the new policy.", "had"),
        ("The expression is discordant, with a positive stain in these cells and a loss in all others.", "positive"),
        ("The images were alike at baseline, but two weeks later they showed less plaque in the vessel.", "later"),
        ("Of the remaining 613 patients who had the medicine, 25 patients (4.1%) had a haemorrhage.", "4.1"),
        ("Of the remaining 613 patients who had the medicine, 25 patients (4.1%) had a haemorrhage.", "613"),
        ("The tumour has a large cell of the shape of a ring with one or more blebs on its surface.", "with"),
        ("The tumour has a large cell of the shape of a ring with one or more blebs on its surface.", "more"),
        ("The Governor shall hold his office during the pleasure of the head of the whole State.", "during"),
        ("In July the court dismissed the plaintiff's amended complaint without any opinion.", "plaintiff's"),
        ("The medial, or inside part of the knee, looks much better now than it did a year ago.", "medial"),
        ("The distortion of the fossa is evident, being broader and flatter on the affected side.", "is"),
        ("The incidences of the visits were studied (weighted by the time under observation).", "were"),
        ("The rate constant of the uptake decreased progressively to 58% of that of the control.", "decreased"),
        ("Because of a rapid increase in the incidence of the cancer, the method is of interest.", "is"),
        ("The firm had unlawfully retaliated against the employee by an order to work at night.", "employee"),
        ("The company alleged that to petition the state infringes on the right to free speech.", "state"),
        ("The tumour is located at the proximal end of the first phalanx of the left hand.", "end"),
        ("The right shall be exercised in such manner as he may direct in writing each year.", "direct"),
        ("Nothing in this clause shall require the authority to disclose facts to the public.", "shall"),
        ("The ventricle (a hole between the two bottom chambers) lies close to the pulmonary artery.", "two"),
    ],
)
def test_words_that_the_sentence_decides_stay(sentence, old):
    assert old not in {before for before, _ in changes(sentence)}


@pytest.mark.parametrize(
    ("sentence", "change"),
    [
        ("The concentration of the hormone in the blood is above the upper limit of the range.", ("above", "below")),
        ("The medicine shall be given after the meal and with a glass of water by a nurse.", ("after", "before")),
        ("The data may be processed with the consent of the person whom they concern.", ("with", "without")),
        ("The scar lies on the right side of the chest and does not hurt when it is touched.", ("right", "left")),
        ("The dose was taken once a day by all of the women of the second group.", ("once", "twice")),
        ("The group had more falls than the other one during the whole of the winter.", ("more", "fewer")),
        ("A total of 40% of the 612 people of the town had a symptom of the disease that winter.", ("612", None)),
        (
            "The stain was positive in the cells of the outer layer and the nuclei of the lower one.",
            ("positive", "negative"),
        ),
        (
            "The court held that the state law was void since the parliament of the nation had acted.",
            ("state", "federal"),
        ),
        ("The trial shall begin within ninety days of the order of the court of the district.", ("begin", "end")),
        ("The colony was under the direct control of the crown until the end of the last war.", ("direct", "indirect")),
        (
            "The rate constant of the uptake decreased progressively in the cells of the outer layer.",
            ("decreased", "increased"),
        ),
        (
            "The employee shall give notice of the end of the contract in writing to the office.",
            ("employee", "employer"),
        ),
        ("Where the goods are late, the buyer may refuse them and ask for the price.", ("may", "must")),
        ("Cystic fibrosis: A disease in which mucus builds up in the left lung of the person.", ("left", "right")),
    ],
)
def test_the_same_words_change_elsewhere(sentence, change):
    assert change in changes(sentence)


def test_no_number_of_a_table_changes():
    cells = " ".join(f"{number} (3.{number % 10}%)" for number in range(10, 1000))
    assert not [
        old for old, _ in changes(f"The whole of the patients of the group had, in order, {cells}.") if old.isdigit()
    ]


@pytest.mark.parametrize(
    ("sentence", "stands_alone"),
    [
        ("Patients present with an abrupt onset of chest pain and have severe elevation of the enzyme.", False),
        ("Affected infants may develop permanent disabilities such as hearing loss and vision loss.", False),
        ("Patients with cystic fibrosis present with a cough and have severe infections of the lungs.", True),
        ("The requirements set out in Chapter III of that Regulation shall be taken into account.’.", False),
        ("The ‘controller’ shall notify the authority of the breach of the personal data.", True),
        ("The person’s data shall be kept no longer than is needed for the purpose of the law.", True),
    ],
)
def test_sentences_about_somebody_named_before_are_no_targets(sentence, stands_alone):
    filler = "A sentence that stands before it and is there to fill the passage up to its length. " * 3
    assert (sentence in targets(f"{filler}{sentence}", "en")) == stands_alone
