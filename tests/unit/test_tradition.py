"""What a checkpoint knows of its corpus: lines, company, endings."""

from dataclasses import replace

import numpy as np
import pytest

from engine.tradition import Tradition, TraditionError
from engine.verse.forms import FormName
from tests.fakes.models import small_dataset, small_tradition
from trainer.corpus import Era, Split
from trainer.dataset import Verses
from trainer.tradition import build_tradition


def test_it_holds_every_line_of_every_split_and_no_other():
    dataset, tradition = small_dataset(), small_tradition()
    chars = dataset.vocabulary.chars
    for split in Split:
        for verses in dataset.select(split, Era).values():
            line = "".join(chars[index] for index in verses.tokens[0][:5])
            if verses.tokens.shape[1] in (20, 40):
                assert tradition.holds(line)
    assert not tradition.holds("月月月月月")


def test_it_is_the_same_after_a_file():
    tradition = small_tradition()
    data = tradition.to_bytes()
    again = Tradition.from_bytes(data)
    assert again.to_bytes() == data
    assert (again.lines == tradition.lines).all()
    assert again.endings == tradition.endings
    assert np.abs(again.vectors - tradition.vectors).max() < 0.02


def test_what_is_no_tradition_is_refused():
    with pytest.raises(TraditionError):
        Tradition.from_bytes(b"PK no archive")


def test_characters_that_meet_keep_company():
    """Poems of two worlds that never mix: every character prefers its own."""
    small = small_dataset()
    random = np.random.default_rng(1)
    worlds = [random.integers(first, first + 30, size=(400, 20)) for first in (1, 31)]
    tokens = np.concatenate(worlds).astype(np.uint16)
    nothing = {
        key: replace(verses, tokens=verses.tokens[:0]) for key, verses in small.verses.items()
    }
    poems = Verses(tokens=tokens, rhymes=np.zeros(len(tokens), dtype=np.uint8))
    verses = {**nothing, (FormName.WUJUE, Era.TANG, Split.TRAIN): poems}
    tradition = build_tradition(replace(small, verses=verses))
    assert tradition.association([1, 2], [3, 4]) > 0.3 > tradition.association([1, 2], [33, 34])
    company = tradition.company([5])
    assert company[1:31].mean() > 2 * company[31:61].mean()
    assert tradition.company([]).max() == tradition.association([1], []) == 0.0
