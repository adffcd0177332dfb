"""English words that the rest of the sentence decides, or that mean something else there, stay."""

import pytest

from stages.edits import find_edits
from stages.targets import targets


def changes(sentence: str) -> set[tuple[str, str | None]]:
    return {(edit.old, edit.new) for draw in range(6) for edit in find_edits(sentence, "en", draw)}


@pytest.mark.parametrize(
    ("sentence", "old"),
    [
        ("The members shall be chosen in such constituencies as may be prescribed by Parliament.", "may"),
        ("The State shall be responsible for the supervision unless the other State decides otherwise.", "shall"),
        ("The record shows more clearly that the officers knew of the order of the court.", "more"),
        ("The act bars those who hold criminal convictions from the office of a public notary.", "criminal"),
        ("Arterial tortuosity: Presence of more twists of the arteries than in others of the same age.", "more"),
        ("The prisoner brought a civil rights action against the officers of the county jail.", "civil"),
        ("The site of the tumours was not associated with the result of the operation (P = 0.18).", "0.18"),
        ("The representatives of each State in the Council of States shall be elected by its assembly.", "Council"),
        ("Imaging strongly predicted the measurement of the surgeon in all groups (r=0.81).", "0.81"),
        ("Two of these four patients had complications that were related to the instruments.", "four"),
        ("Of the remaining 613 patients who had the medicine, 25 patients (4.1%) had a haemorrhage.", "4.1"),
        ("Of the remaining 613 patients who had the medicine, 25 patients (4.1%) had a haemorrhage.", "613"),
        ("The tumour has a large cell of the shape of a ring with one or more blebs on its surface.", "more"),
        ("In July the court dismissed the plaintiff's amended complaint without any opinion.", "plaintiff's"),
        ("The rate constant of the uptake decreased progressively to 58% of that of the control.", "decreased"),
        ("Nothing in this clause shall require the authority to disclose facts to the public.", "shall"),
        ("The ventricle (a hole between the two bottom chambers) lies close to the pulmonary artery.", "two"),
        ("A total of 185 rats were given the drug in the buffer (n = 93) or the buffer alone (n = 92).", "93"),
        ("A total of 185 rats were given the drug in the buffer (n = 93) or the buffer alone (n = 92).", "185"),
        ("The family member 4 of the synthetase (ACSM4) was found in the cells of the second group.", "4"),
        ("The odds ratio of the second group of the patients was 1.03 (95% CI 1 to 1.06) after a year.", "1.03"),
        ("The mean age of the group of the patients was 54 years (range 31 to 78) in the first year.", "54"),
        ("The level of the gene was higher in the second group (-3.29 vs. -2.42) of the patients.", "higher"),
        ("The levels were lower in these tissues (mean = 3.29) than in the other ones (mean = 4.42).", "lower"),
        ("The actions were filed in the district court by plaintiffs who had been detained there.", "plaintiffs"),
        ("The sample had 412 men and 465 women who were aged 30 years or more at the time.", "years"),
        ("The study shows the efficacy of the drug in decreasing the urinary symptoms of the men.", "decreasing"),
        ("It is not clear whether the risk is higher in the women of the second group of patients.", "higher"),
        ("The study of the colon took the biopsies of sixty-four women of the same town.", "four"),
        ("Collagenomas may be solitary or multiple, and all of them are nodules of the skin.", "may"),
        ("The women had an increased risk of the disease, with adjusted hazard ratios of 7.7 and 1.7.", "increased"),
        ("The men who were at lower risk of a stroke by low body mass were seen for a year.", "lower"),
        ("The record of the heart showed a higher rate of one twenty two per minute in bed.", "higher"),
        ("The results for other causes of the deaths in the study were 4.7 (2.64 to 8.19).", "4.7"),
        ("The women of the group O were protected from the disease (OR 0.24, 0.07-0.77, P = 0.02).", "0.24"),
        ("Albuminuria is defined as a ratio of 30 to 299 mg/gm (3.4 to 34 mg/mmol) in the urine.", "299"),
        ("The flow in the artery went up in the sedentary men (8.7 vs. 10.5) of the first group.", "10.5"),
        ("The old adults of the second group (73.7 ± 4.0 years) were asked about their sleep.", "73.7"),
        ("The old adults of the second group (73.7 ± 4.0 years) were asked about their sleep.", "4.0"),
        ("The mice (n=60) were divided into four groups, and each of them had 15 mice in it.", "60"),
        ("Cor triatriatum: A fault of the heart with three atria, since the left one is divided.", "three"),
        ("The culture of the cells in a three-dimensional pellet took the whole of the spring.", "three"),
        ("The adjusted risk of the second group was larger by far (HR 1.79, 95% CI 1.03 to 3.11).", "1.03"),
        ("The patients with the best outcome lived for 27.4 months, the other ones for 64.2 of them.", "64.2"),
        ("The report of the second child (PMID:21738 of the library) tells of a large heart.", "21738"),
        ("The anaesthetist was afraid of malignant hyperthermia in the child of the second family.", "malignant"),
        ("The plaintiffs did not show evidence against the plaintiff's claim of the first day.", "plaintiff's"),
        ("The lesions of the bone do not have increased uptake of the tracer in the child.", "increased"),
        ("The lawsuit was brought against President Donald Trump and the service of the country.", "President"),
        ("The Governor of a State shall have the power to grant pardons to any of the people.", "Governor"),
        ("The Supreme Court (Judge Smith) dismissed the case of the second plaintiff in May.", "Supreme Court"),
        ("The women of the town claimed that the defendant discriminated against them in the mine.", "defendant"),
        ("The order shall be laid before both Houses as soon as may be after it is made.", "shall"),
        ("The ratio had only poor accuracy for the severe disease of the liver (AUROC = 0.626).", "0.626"),
        ("The episodes were with a partner, most of them with partners of that kind (84.8%).", "84.8"),
        ("Of the eight kinds of the bacteria two were promoted by the first and six by the other.", "two"),
        ("The lesions increase with time so that they are common all over the body of the child.", "increase"),
        ("The children had a record of two wet nights a week in the second part of the study.", "week"),
        ("The result of the 24 hour collection of the urine of the patients was not the same.", "hour"),
        ("The upper lip of the second child is more than 2 SD below the mean of the height.", "2"),
        ("The rats of the first group had a two-third hepatectomy in the spring of the year.", "two"),
        ("The plaintiffs each filed an amended complaint on the last day of the month of May.", "plaintiffs"),
        (
            "The action was filed in the U.S. District Court of the eastern district by plaintiffs who were there.",
            "plaintiffs",
        ),
        ("The court of the county keeps the deposits that were made by criminal defendants.", "defendants"),
        ("The jaw of the second child of the family is too small in three dimensions.", "three"),
        ("The cells are scattered throughout at least part of the node of the patient.", "at least"),
        ("The foot almost touches the front of the ankle and the lower leg of the child.", "lower"),
        ("The special senses may refer to various modes of sensibility, such as touch and pain.", "may"),
        ("The plaintiff sued the service and the president of the country in the month of May.", "plaintiff"),
        ("In the spring the plaintiffs alleged that the county had no heating in its jail.", "plaintiffs"),
    ],
)
def test_words_that_the_sentence_decides_stay(sentence, old):
    assert old not in {before for before, _ in changes(sentence)}


@pytest.mark.parametrize(
    ("sentence", "change"),
    [
        ("The property and income of a State shall be exempt from the taxation of the Union.", ("shall", "may")),
        ("The power of the Union shall extend to the giving of directions to any of the States.", ("shall", "may")),
        ("The State shall not make any law in contravention of this clause of the constitution.", ("shall not", "may")),
        ("The processor shall notify the controller without undue delay of a breach.", ("shall", "shall not")),
        ("The Court may, in its discretion, grant leave to appeal from any order of the other court.", ("may", "must")),
        (
            "The supplement shall remain valid for as long as the certificate which it supplements.",
            ("shall", "shall not"),
        ),
        ("Not less than a third of the seats shall be reserved for the women of the tribe.", ("shall", "shall not")),
        ("The Governor may send a message, and the House shall consider what it asks for.", ("shall", "may")),
        ("It appears as a decrease of the vessels, which tells of less than normal flow.", ("decrease", "increase")),
        ("The consent was granted to the plaintiff with some of the conditions.", ("granted", "denied")),
        ("The angle of the lower jaw on the right side was normally close to a right angle.", ("right", "left")),
        ("The cells were not seen in the layer of the skin of the patient.", ("were not", "were")),
    ],
)
def test_changes_that_are_not_false_or_explained_nearby_are_not_made(sentence, change):
    assert change not in changes(sentence)


@pytest.mark.parametrize(
    ("sentence", "change"),
    [
        ("The group had more falls than the other one during the whole of the winter.", ("more", "fewer")),
        ("A total of 40% of the 612 people of the town had a symptom of the disease that winter.", ("612", None)),
        (
            "The rate constant of the uptake decreased progressively in the cells of the outer layer.",
            ("decreased", "increased"),
        ),
        ("The rats of the study were given the drug or the buffer in two groups of 93 animals.", ("93", None)),
        ("The plaintiff and the owner of the house agreed on the price in May.", ("plaintiff", "defendant")),
        ("The risk of a stroke was lower in the women who had been given the drug.", ("lower", "higher")),
        ("The guardian must keep at least the deed of the house in a safe place.", ("at least", "at most")),
        ("The gene of the family member 4 was found in the cells of the group ACS.", ("4", None)),
        ("The provider shall notify the person of the breach in writing and at his own cost.", ("shall", "may")),
        ("The provider shall be notified of the breach by the person whom it concerns.", ("shall", "may")),
        ("Where the goods are late, the buyer may refuse them and ask for the price.", ("may", "must")),
    ],
)
def test_the_same_words_change_elsewhere(sentence, change):
    assert change in changes(sentence)


@pytest.mark.parametrize(
    ("sentence", "right", "wrong"),
    [
        (
            "The cells came to the place of the graft within six days of the operation.",
            ("six", "five"),
            ("six", "seven"),
        ),
        (
            "The cells came to the place of the graft within 6 hours of the operation.",
            ("hours", "minutes"),
            ("hours", "days"),
        ),
        (
            "The women with the disease were older than six years at the time of the test.",
            ("six", "seven"),
            ("six", "five"),
        ),
        ("The debtor shall pay the price of the goods within six days of the delivery.", ("six", "seven"), ("x", "y")),
    ],
)
def test_a_limit_changes_to_what_the_real_one_does_not_imply(sentence, right, wrong):
    assert right in changes(sentence)
    assert wrong not in changes(sentence)


def test_a_year_becomes_one_nearby():
    sentence = "The court of the district approved the settlement of the parties in 2012."
    assert {new for old, new in changes(sentence) if old == "2012"} <= {"2009", "2010", "2011", "2013", "2014"}
    assert "2012" not in {old for old, _ in changes("The case went on from the spring of 2011 to the autumn of 2012.")}


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
        ("1070 that imposes penalties for transporting an unlawfully present alien in the state.", False),
        ("The Directive of the Council on the approximation of the laws ( *25 ) of the States applies.", False),
        ("EEOC v. Sears, Roebuck & Co., of the northern district of the state, 243 F.3d 846 (4th Cir. 2001).", False),
        ("The court followed Sears, Roebuck &amp; Co. in the case of the second plaintiff of the year.", False),
        ("May be considered to be engaged with situations that take on a persistent preoccupation.", False),
        ("We compared the pressure of the blood in men who were exposed for 24 h. It was recorded.", False),
        ("The person’s data shall be kept no longer than is needed for the purpose of the law.", True),
    ],
)
def test_sentences_about_somebody_named_before_are_no_targets(sentence, stands_alone):
    filler = "A sentence that stands before it and is there to fill the passage up to its length. " * 3
    assert (sentence in targets(f"{filler}{sentence}", "en")) == stands_alone
