"""Every metric over poems, on cases small enough to count by hand."""

import math

import numpy as np
import pytest

from engine.verse.checker import Rule
from engine.verse.forms import FormName
from engine.vocabulary import Vocabulary
from tests.fakes.poems import QIJUE, WUJUE
from trainer.dataset import Verses
from trainer.metrics import (
    Association,
    KnownLines,
    Specimen,
    bleu,
    distinct,
    likeness,
    novelty,
    repetition,
    rule_rates,
)


def known_lines(*lines):
    return KnownLines([np.array([[ord(char) for char in line]], np.uint32) for line in lines])


# --- rules ----------------------------------------------------------------------------------


def test_rates_are_shares_of_poems_that_keep_a_rule():
    rhymeless = (*WUJUE[:3], "何處聽潮來")
    rates = rule_rates([Specimen(lines=WUJUE), Specimen(lines=rhymeless)])
    assert rates[Rule.RHYME] == rates["all"] == 0.5
    assert rates[Rule.FORMAT] == rates["tones"] == 1.0


def test_a_named_tone_fault_breaks_the_tonal_pattern():
    rates = rule_rates([Specimen(lines=(*WUJUE[:3], "何處春潮聲"))])
    assert rates[Rule.LEVEL_ENDING] == rates["tones"] == 0.0
    assert rates[Rule.TONE] == rates[Rule.RHYME] == 1.0


def test_a_first_line_that_rhymes_elsewhere_leaves_the_even_lines_their_rhyme():
    rates = rule_rates([Specimen(lines=("細雨無聲落晚天", *QIJUE[1:]))])
    assert (rates[Rule.RHYME], rates["even_rhyme"]) == (0.0, 1.0)


def test_a_poem_in_no_form_or_another_than_asked_keeps_no_rule():
    rates = rule_rates([Specimen(lines=WUJUE[:3]), Specimen(lines=QIJUE, form=FormName.WUJUE)])
    assert set(rates.values()) == {0.0}


def test_another_opening_than_asked_counts():
    rates = rule_rates([Specimen(lines=WUJUE, opening="月"), Specimen(lines=WUJUE, opening="夜")])
    assert rates[Rule.OPENING] == 0.5


# --- repetition and diversity ---------------------------------------------------------------


def test_repetition_is_the_share_of_characters_that_stood_before():
    assert repetition(["春風春", "夜雨風"]) == pytest.approx(2 / 6)
    assert repetition(["春風"]) == 0.0


def test_distinct_counts_ngrams_over_all_poems_within_lines():
    poems = [["春風春風"], ["春風", "風雨"]]
    assert distinct(poems, 1) == pytest.approx(3 / 8)
    assert distinct(poems, 2) == pytest.approx(3 / 5)


def test_likeness_is_the_mean_jaccard_of_bigram_sets():
    same, half, other = ["春風夜"], ["春風雨"], ["江水東"]
    assert likeness([same, same]) == 1.0
    assert likeness([same, half]) == pytest.approx(1 / 3)
    assert likeness([same, half, other]) == pytest.approx(1 / 9)
    assert math.isnan(likeness([same]))


# --- novelty --------------------------------------------------------------------------------


def test_a_copied_line_is_found_and_a_part_of_a_longer_one_is_no_line():
    known = known_lines("春風吹又生", "野火燒不盡春風")
    assert known.has_line("春風吹又生")
    assert not known.has_line("火燒不盡春")
    assert known.longest("火燒不盡春") == 5


def test_the_longest_common_substring_does_not_join_two_lines():
    known = known_lines("春風吹又生", "明月照高樓")
    assert known.longest("吹又生明月") == 3
    assert known.longest("萬里一孤舟") == 0


def test_unknown_characters_match_nothing():
    known = KnownLines([np.array([[ord("春"), 0, ord("風")]], np.uint32)])
    assert known.longest("春風") == 1


def test_novelty_sums_up_poems_and_lines():
    known = known_lines("春風吹又生")
    found = novelty([["春風吹又生", "明月照高樓"], ["江水向東流", "江水吹又生"]], known)
    assert found.copied_poems == 0.5
    assert found.longest_copy == pytest.approx((5 + 0 + 0 + 3) / 4)
    assert found.copied_fourgrams == pytest.approx(2 / 8)


def test_the_lines_of_a_dataset_are_known():
    vocabulary = Vocabulary("".join(dict.fromkeys("".join(WUJUE))))
    tokens = np.array([vocabulary.encode("".join(WUJUE))], np.uint16)
    verses = {FormName.WUJUE: Verses(tokens=tokens, rhymes=np.zeros(1, np.uint8))}
    known = KnownLines.of(verses, vocabulary)
    assert all(map(known.has_line, WUJUE))
    assert not known.has_line(QIJUE[0])


# --- relevance ------------------------------------------------------------------------------


def verses(vocabulary, *texts):
    rows = np.array([vocabulary.encode(text) for text in texts], np.uint16)
    return Verses(tokens=rows, rhymes=np.zeros(len(rows), np.uint8))


def test_relevance_is_the_mean_ppmi_with_the_opening():
    vocabulary = Vocabulary("月夜日光")
    found = Association([verses(vocabulary, "月夜夜", "月夜光", "日光日", "日光日")], vocabulary)
    # 月 and 夜: 2 poems of 4 hold each, and both: ln(4 * 2 / (2 * 2)). 月 and 日: never together.
    assert found.relevance(["月夜"], "月") == pytest.approx(math.log(2))
    assert found.relevance(["月夜日"], "月") == pytest.approx(math.log(2) / 2)
    # 月 and 光 meet less often than by chance, which counts as 0.
    assert found.relevance(["月光"], "月") == 0.0


def test_relevance_of_what_is_not_known_is_not_a_number():
    vocabulary = Vocabulary("月夜")
    found = Association([verses(vocabulary, "月夜")], vocabulary)
    assert math.isnan(found.relevance(["曌夜"], "曌"))
    assert math.isnan(found.relevance(["月曌"], "月"))


# --- BLEU -----------------------------------------------------------------------------------


def test_bleu_of_the_real_line_is_one_and_of_a_stranger_nought():
    assert bleu([("春風吹又生", "春風吹又生")], 4) == pytest.approx(1.0)
    assert bleu([("明月照高樓", "春風吹又生")], 1) == 0.0


def test_bleu_is_made_of_clipped_precisions_with_one_added_above_single_characters():
    # 春春春夜 against 春風春夜: 3 of 4 characters (two 春 at most), then 1 of 3 bigrams.
    pair = ("春春春夜", "春風春夜")
    assert bleu([pair], 1) == pytest.approx(3 / 4)
    assert bleu([pair], 2) == pytest.approx(math.sqrt(3 / 4 * (1 + 1) / (3 + 1)))


def test_bleu_pays_for_brevity():
    assert bleu([("春風", "春風夜雨")], 1) == pytest.approx(math.exp(-1))
