"""The model against torch's own layers, and the engine's hand-written step against the model."""

import pytest
import torch

from engine.jobs import Cell
from engine.model import LAYERS, PLACES, Model, Shape, places, shift
from engine.rows import LONGEST
from engine.runner import Runner
from engine.sequence import make_sequence
from engine.theme import ThemeEncoder
from engine.verse.forms import FORMS, FormName
from engine.vocabulary import RHYME_INDEX, TONE_INDEX
from tests.fakes.models import job, small_checkpoint

CELLS = list(Cell)


def small_model(cell):
    torch.manual_seed(3)
    return Model(Shape(cell=cell, vocabulary=50, embedding=12, hidden=20)).eval()


def test_every_place_of_every_form_has_its_own_number():
    numbers = [place for form in FormName for place in places(form)]
    assert sorted(numbers) == list(range(PLACES))


def test_shift_gives_the_character_before_and_the_one_above():
    before, above = shift(torch.arange(1, 21)[None], 5, 99)
    assert before[0].tolist() == [99, *range(1, 20)]
    assert above[0].tolist() == [99] * 5 + list(range(1, 16))


@pytest.mark.parametrize("cell", CELLS)
def test_the_model_is_torchs_own_stack_of_layers(cell):
    """With copied weights, nn.RNN, nn.GRU or nn.LSTM of two layers give the same features."""
    model = small_model(cell)
    kind = {Cell.RNN: torch.nn.RNN, Cell.GRU: torch.nn.GRU, Cell.LSTM: torch.nn.LSTM}[cell]
    stack = kind(12, 20, num_layers=LAYERS, batch_first=True)
    for number, layer in enumerate(model.layers):
        for name, weight in layer.named_parameters():
            stack.get_parameter(name.replace("l0", f"l{number}")).data.copy_(weight)
    tokens = torch.randint(0, 50, (3, 20))
    before, above = shift(tokens, 5, 50)
    place, zeros = torch.tensor(places(FormName.WUJUE)), torch.zeros_like(tokens)
    x = model.characters(before) + model.above(model.characters(above))
    x = x + model.place(place) + model.tone(zeros) + model.rhyme(zeros[:, 0])[:, None]
    expected = model.project(stack(x)[0])
    got = model(before, above, place, zeros, zeros[:, 0])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_zeros_are_the_state_that_a_poem_begins_with_unless_told(cell):
    model = small_model(cell)
    tokens = torch.randint(0, 50, (3, 20))
    told = (tokens, tokens, torch.tensor(places(FormName.WUJUE)), tokens * 0, tokens[:, 0] * 0)
    zeros = torch.zeros(LAYERS, 2 if cell is Cell.LSTM else 1, 3, 20)
    assert torch.equal(model(*told, state=zeros), model(*told))
    assert not torch.equal(model(*told, state=zeros + 1), model(*told))


@torch.inference_mode()
@pytest.mark.parametrize("theme", ["", "風雪"])
@pytest.mark.parametrize("form", [FormName.QIJUE, FormName.WULU])
@pytest.mark.parametrize("cell", CELLS)
def test_the_stepped_poem_has_the_probability_that_the_model_gives_it(cell, form, theme, tmp_path):
    """Whole-poem logits of what the runner wrote, told what it was told, add up to its logprob.

    Probability is that among the characters that the rules admit.
    A poem on a theme begins with the state that the encoder makes of it.
    """
    checkpoint = small_checkpoint(tmp_path, cell)
    sequence = make_sequence(
        job(form=form, cell=cell, opening="月", theme=theme),
        checkpoint.vocabulary,
        checkpoint.priors,
    )
    assert len(sequence.theme) == len(theme)
    runner = Runner(checkpoint, slots=2)
    row = runner.join(sequence)
    for _ in range(sequence.length):
        runner.step()
    words = runner.words(row, sequence.length)
    assert words.sound

    tokens = torch.tensor([words.indices])
    before, above = shift(tokens, FORMS[form].line_length, len(checkpoint.vocabulary))
    tones = [TONE_INDEX[sequence.plan.tone_at(place)] for place in range(sequence.length)]
    model = checkpoint.model()
    state = None
    if theme:
        assert checkpoint.theme is not None
        encoder = ThemeEncoder.of(checkpoint.shape, checkpoint.theme)
        state = encoder(model.characters(torch.tensor([sequence.theme])))
    logits = model.logits(
        model(
            before,
            above,
            torch.tensor(places(form)),
            torch.tensor([tones]),
            torch.tensor([RHYME_INDEX[sequence.plan.rhyme]]),
            state=state,
        )
    )
    rhymes = torch.from_numpy(checkpoint.vocabulary.rhyme_table[RHYME_INDEX[sequence.plan.rhyme]])
    for place, tone in enumerate(tones):
        in_tone = torch.from_numpy(checkpoint.vocabulary.tone_table[tone])
        logits[0, place, ~(rhymes if sequence.plan.rhymes_at(place) else in_tone)] = -torch.inf
    chosen = logits.log_softmax(-1).gather(2, tokens[..., None])[0, 1:, 0]  # 月 was given
    assert words.logprob == pytest.approx(float(chosen.sum()), abs=1e-3)


def test_the_longest_poem_fits_the_rows():
    assert LONGEST == FORMS[FormName.QILU].length == 56
