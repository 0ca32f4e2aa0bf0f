"""The characters a model knows."""

import numpy as np
import pytest

from engine.verse.tones import Tone
from engine.vocabulary import RHYME_INDEX, TONE_INDEX, UNKNOWN, Vocabulary, VocabularyError

VOCABULARY = Vocabulary("月發髮看東")


def test_unknown_comes_first_and_start_last():
    assert VOCABULARY.chars[UNKNOWN] == "<unk>"
    assert len(VOCABULARY) == 6
    assert VOCABULARY.start == 6


def test_a_typed_glyph_is_the_commonest_character_it_may_stand_for():
    assert VOCABULARY.index_as_typed("发") == VOCABULARY.index("發")
    assert VOCABULARY.index_as_typed("东") == VOCABULARY.index("東")
    assert VOCABULARY.index_as_typed("龘") == UNKNOWN


def test_text_survives_its_indices():
    assert VOCABULARY.decode(VOCABULARY.encode("東月")) == "東月"


def test_the_tables_admit_what_the_readings_say_and_never_the_unknown():
    table = VOCABULARY.tone_table
    moon, look = VOCABULARY.index("月"), VOCABULARY.index("看")
    assert table[:, moon].tolist() == [True, False, True]
    assert table[:, look].tolist() == [True, True, True]
    assert not table[:, UNKNOWN].any()
    assert VOCABULARY.rhyme_table[RHYME_INDEX["東"], VOCABULARY.index("東")]
    assert not VOCABULARY.rhyme_table[RHYME_INDEX[None]].any()
    assert TONE_INDEX[Tone.OBLIQUE] == 2


def test_a_vocabulary_is_read_one_character_a_line():
    text = "\n".join(VOCABULARY.chars) + "\n"
    assert Vocabulary.parse(text).chars == VOCABULARY.chars


@pytest.mark.parametrize("text", ["", "月\n", "<unk>\n月月\n", "<unk>\n月", "<unk>\n月\n月\n"])
def test_anything_else_is_refused(text):
    with pytest.raises(VocabularyError):
        Vocabulary.parse(text)


def test_what_may_stand_in_the_same_places_stands_side_by_side():
    vocabulary = Vocabulary("月東發山看風中髮春龘聽雨")
    order = vocabulary.by_sound
    assert sorted(order) == list(range(len(vocabulary)))
    assert order[0] == UNKNOWN
    for tone in vocabulary.tone_table[:, order]:
        places = np.flatnonzero(tone)
        assert len(places) == places[-1] - places[0] + 1 < len(order)
