"""The running poems as dense rows of tensors, and the step that writes one character of each.

The rows of running poems are always the first ones: a poem that leaves has its row filled with
the last. Everything about a poem but its words is put on the device when it joins, so a step
reads nothing back; the host learns the words of a poem once, when it is complete.

The recurrence is written out by hand (Hochreiter & Schmidhuber 1997; Cho et al. 2014, in cuDNN's
variant, which is torch's): the inputs of the first layer are sums of embeddings, so their product
with the input weights is folded into tables when the model is loaded, and a step is one table
look-up and one product a layer.
"""

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.jobs import Cell
from engine.model import LAYERS, Model, places
from engine.preference import Preference
from engine.sampler import restrict, sample, sound
from engine.sequence import Sequence
from engine.theme import ThemeEncoder
from engine.verse.forms import FORMS
from engine.vocabulary import RHYME_INDEX, TONE_INDEX, UNKNOWN

LONGEST = max(form.length for form in FORMS.values())
_MOST_RHYMES = 5  # a lushi whose first line rhymes
_RHYME_SLOTS = _MOST_RHYMES + 1  # slot 0 takes what does not rhyme
_NOT_GIVEN = -1
THEME_WEIGHT = 2.0
"""What a nat of PPMI with the theme adds to a character's logit (decision 15)."""
THEME_MOST = 1.2
"""Nats of PPMI beyond which company counts no more, or the theme's own words would fill a poem."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a complete poem is made of, on the host."""

    indices: tuple[int, ...]
    """The character at each place."""
    logprob: float
    """Natural log of the model's probability of the characters it chose, before masks."""
    sound: bool
    """Whether every step's logits were finite and admitted something."""


class Runner:
    """Steps up to `slots` poems of one checkpoint side by side."""

    def __init__(self, checkpoint: Checkpoint, *, slots: int, device: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.slots = slots
        self.count = 0
        self.device = torch.device(device)
        with torch.inference_mode():
            self._cell = _Cell(checkpoint.model().to(self.device))
            self._encoder = _encoder(checkpoint, self.device)
            self._leaning = _leaning(checkpoint, self.device)
            self._masks = _mask_table(checkpoint).to(self.device)
            self._allocate(checkpoint)

    def _allocate(self, checkpoint: Checkpoint) -> None:
        s, t, start = self.slots, LONGEST, checkpoint.shape.vocabulary

        def integers(*size: int, fill: int = 0) -> Tensor:
            return torch.full(size, fill, dtype=torch.long, device=self.device)

        self._state = torch.zeros(
            self._cell.state_parts, s, checkpoint.shape.hidden, device=self.device
        )
        self._position = integers(s)
        self._previous = integers(s, fill=start)
        # Tokens stand behind `t` starts, so the character above the first line is a start too.
        self._tokens = integers(s, 2 * t, fill=start)
        self._written = integers(s, t)
        self._rhymed = integers(s, _RHYME_SLOTS)
        self._plan = {
            name: integers(s, t)
            for name in ("place", "tone", "mask", "given", "forbidden", "rhyme_slot")
        }
        self._rhyme = integers(s)
        self._line_length = integers(s)
        self._uniforms = torch.zeros(s, t, device=self.device)
        self._temperature = torch.ones(s, device=self.device)
        self._bias = torch.zeros(s, checkpoint.shape.vocabulary, device=self.device)
        self._logprob = torch.zeros(s, device=self.device)
        self._sound = torch.ones(s, dtype=torch.bool, device=self.device)

    @property
    def _row_tensors(self) -> list[Tensor]:
        """Every tensor that has one row a poem, rows first."""
        return [
            *self._state,
            self._position,
            self._previous,
            self._tokens,
            self._written,
            self._rhymed,
            *self._plan.values(),
            self._rhyme,
            self._line_length,
            self._uniforms,
            self._temperature,
            self._bias,
            self._logprob,
            self._sound,
        ]

    @torch.inference_mode()
    def join(self, sequence: Sequence) -> int:
        """Give a poem the next free row and return its number."""
        row = self.count
        self.count += 1
        self._state[:, row] = self._begin(sequence)
        self._position[row] = 0
        self._previous[row] = self.checkpoint.shape.vocabulary
        self._tokens[row] = self.checkpoint.shape.vocabulary
        self._written[row] = 0
        self._rhymed[row] = 0
        self._logprob[row] = 0.0
        self._sound[row] = True
        self._rhyme[row] = RHYME_INDEX[sequence.plan.rhyme]
        self._line_length[row] = sequence.form.line_length
        self._temperature[row] = sequence.job.temperature
        self._bias[row] = self._leaning.get(sequence.length, 0.0)
        if sequence.theme:
            self._bias[row] += self._theme_bias(sequence)
        for slot, index in _given_rhymes(sequence).items():
            self._rhymed[row, slot] = index
        length = sequence.length
        for name, values in _plan_rows(sequence).items():
            self._plan[name][row, :length] = torch.tensor(values, device=self.device)
        self._uniforms[row, :length] = torch.tensor(sequence.uniforms, device=self.device)
        return row

    def _begin(self, sequence: Sequence) -> Tensor | float:
        """The state that a poem starts from: what its theme calls up, (parts, H), or else 0."""
        if self._encoder is None or not sequence.theme:
            return 0.0
        theme = torch.tensor(sequence.theme, device=self.device)
        return self._encoder.begin(self._cell.characters[theme])

    def _theme_bias(self, sequence: Sequence) -> Tensor:
        """What is added to a row's logits so that it seeks its theme's company, (V,)."""
        company = self.checkpoint.tradition.company(sequence.theme)
        return torch.from_numpy(company).to(self.device).clamp_max(THEME_MOST) * THEME_WEIGHT

    @torch.inference_mode()
    def leave(self, row: int) -> int:
        """Free a row by moving the last one into it; the number of the row that was moved."""
        self.count -= 1
        if row != self.count:
            for tensor in self._row_tensors:
                tensor[row] = tensor[self.count]
        return self.count

    @torch.inference_mode()
    def words(self, row: int, length: int) -> Words:
        """Read a complete poem of `length` characters off the device."""
        return Words(
            indices=tuple(self._tokens[row, LONGEST : LONGEST + length].tolist()),
            logprob=float(self._logprob[row]),
            sound=bool(self._sound[row]),
        )

    @torch.inference_mode()
    def step(self) -> None:
        """Write one character of every running poem."""
        outlook = self.look()
        at = self._position[: self.count, None]  # (B, 1)
        chosen = sample(outlook.restricted, self._uniforms[: self.count].gather(1, at)[:, 0])
        self._write(outlook, torch.where(outlook.is_given, outlook.plan["given"], chosen))

    @torch.inference_mode()
    def look(self) -> "Outlook":
        """What the model expects at the next place of every row; the state moves on."""
        b = slice(0, self.count)
        at = self._position[b, None]  # (B, 1)
        plan = {name: table[b].gather(1, at)[:, 0] for name, table in self._plan.items()}  # (B,)
        above = self._tokens[b].gather(1, at + LONGEST - self._line_length[b, None])[:, 0]
        inputs = _Inputs(
            previous=self._previous[b],
            above=above,
            place=plan["place"],
            tone=plan["tone"],
            rhyme=self._rhyme[b],
        )
        logits, self._state[:, b] = self._cell.step(self._state[:, b], inputs)
        restricted = restrict(
            logits + self._bias[b],
            self._masks[plan["mask"]],
            self._written[b],
            torch.cat([self._rhymed[b], plan["forbidden"][:, None]], 1),
            self._temperature[b],
        )
        return Outlook(plan=plan, logits=logits, restricted=restricted)

    @torch.inference_mode()
    def branch(self, outlook: "Outlook", parents: Tensor, chosen: Tensor) -> None:
        """Go on with one row for each of `parents`, (K,), which gets the character in `chosen`.

        For beam search: a row may have several children, or none.
        """
        self.count = len(parents)
        for tensor in self._row_tensors:
            tensor[: self.count] = tensor[parents]
        self._write(outlook.of(parents), chosen)

    def _write(self, outlook: "Outlook", chosen: Tensor) -> None:
        """Enter the chosen characters, (B,), and book how likely the model thought them."""
        b = slice(0, self.count)
        self._enter(chosen[:, None], outlook.plan["rhyme_slot"][:, None])
        logits = outlook.logits
        logprob = logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(1)
        self._logprob[b] += torch.where(outlook.is_given, 0.0, logprob)
        self._sound[b] &= sound(logits, outlook.restricted) | outlook.is_given
        self._position[b] += 1

    def _enter(self, chosen: Tensor, rhyme_slot: Tensor) -> None:
        """Put the chosen characters, (B, 1), where the next steps look for them."""
        b = slice(0, self.count)
        at = self._position[b, None]
        self._tokens[b].scatter_(1, at + LONGEST, chosen)
        self._written[b].scatter_(1, at, chosen)
        self._rhymed[b].scatter_(1, rhyme_slot, torch.where(rhyme_slot > 0, chosen, 0))
        self._previous[b] = chosen[:, 0]


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The next place of every row."""

    plan: dict[str, Tensor]
    """What is planned there, (B,) each."""
    logits: Tensor
    """What the model expects, (B, V)."""
    restricted: Tensor
    """The same under the rules and at the row's temperature, the forbidden at -inf, (B, V)."""

    @property
    def is_given(self) -> Tensor:
        """Rows whose next character was asked for, bool, (B,)."""
        return self.plan["given"] != _NOT_GIVEN

    def of(self, rows: Tensor) -> "Outlook":
        """The outlook of some rows, (K,)."""
        return Outlook(
            plan={name: values[rows] for name, values in self.plan.items()},
            logits=self.logits[rows],
            restricted=self.restricted[rows],
        )


def _plan_rows(sequence: Sequence) -> dict[str, list[int]]:
    """A plan as numbers, one a place: what the model is told and which mask applies."""
    plan, rows = sequence.plan, range(sequence.length)
    slots = _rhyme_slots(sequence)
    return {
        "place": list(places(sequence.form.name)),
        "tone": [TONE_INDEX[plan.tone_at(place)] for place in rows],
        "mask": [
            len(TONE_INDEX) + RHYME_INDEX[plan.rhyme]
            if plan.rhymes_at(place)
            else TONE_INDEX[plan.tone_at(place)]
            for place in rows
        ],
        "given": [
            sequence.given[place].index if place in sequence.given else _NOT_GIVEN for place in rows
        ],
        "forbidden": [sequence.forbidden.get(place, UNKNOWN) for place in rows],
        "rhyme_slot": [slots.get(place, 0) for place in rows],
    }


def _rhyme_slots(sequence: Sequence) -> dict[int, int]:
    """Where each rhyme word is entered, by place. Slot 0 stays <unk>, which forbids nothing."""
    rhyming = filter(sequence.plan.rhymes_at, range(sequence.length))
    return {place: order + 1 for order, place in enumerate(rhyming)}


def _given_rhymes(sequence: Sequence) -> dict[int, int]:
    """The rhyme words fixed in advance, by slot: no line before them may rhyme on them either."""
    slots = _rhyme_slots(sequence)
    return {slots[place]: given.index for place, given in sequence.given.items() if place in slots}


def _encoder(checkpoint: Checkpoint, device: torch.device) -> ThemeEncoder | None:
    """What reads themes, if the checkpoint has it."""
    if checkpoint.theme is None:
        return None
    return ThemeEncoder.of(checkpoint.shape, checkpoint.theme).to(device)


def _leaning(checkpoint: Checkpoint, device: torch.device) -> dict[int, Tensor]:
    """What readers taught the checkpoint to lean to, (V,) for each length of a poem; may be empty.

    `<unk>` is left as it is: the masks forbid it.
    """
    if checkpoint.preference is None:
        return {}
    preference = Preference.of(checkpoint.preference)
    return {form.length: preference.leaning(form.length).to(device) for form in FORMS.values()}


def _mask_table(checkpoint: Checkpoint) -> Tensor:
    """What may stand where each tone, then each rhyme group, is wanted: (3 + 31, V), bool."""
    vocabulary = checkpoint.vocabulary
    return torch.cat(
        [torch.from_numpy(vocabulary.tone_table), torch.from_numpy(vocabulary.rhyme_table)]
    )


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """What a step is told of each row, (B,) each."""

    previous: Tensor
    above: Tensor
    place: Tensor
    tone: Tensor
    rhyme: Tensor


class _Cell:
    """The recurrence and the softmax of one model, folded for stepping."""

    def __init__(self, model: Model) -> None:
        self.cell = model.shape.cell
        self.hidden = model.shape.hidden
        self.state_parts = LAYERS * (2 if self.cell is Cell.LSTM else 1)
        first, *rest = model.layers
        w_in = first.get_parameter("weight_ih_l0")  # (G H, E)
        self.characters = characters = model.characters.weight  # (V + 1, E)
        # (V + 1, G H), (places, G H) and so on: their sum is W_ih x + b_ih.
        self.previous = characters @ w_in.t()
        self.above = model.above(characters) @ w_in.t()
        self.place = model.place.weight @ w_in.t() + first.get_parameter("bias_ih_l0")
        self.tone = model.tone.weight @ w_in.t()
        self.rhyme = model.rhyme.weight @ w_in.t()
        self.inner = [
            (layer.get_parameter("weight_ih_l0"), layer.get_parameter("bias_ih_l0"))
            for layer in rest
        ]
        self.recurrent = [
            (layer.get_parameter("weight_hh_l0"), layer.get_parameter("bias_hh_l0"))
            for layer in model.layers
        ]
        self.project = (model.project.weight, model.project.bias)
        self.output = (characters[:-1], model.bias)

    def step(self, state: Tensor, told: _Inputs) -> tuple[Tensor, Tensor]:
        """One character: state (parts, B, H) to logits (B, V) and the state after it."""
        linear = torch.nn.functional.linear
        x = self.previous[told.previous] + self.above[told.above] + self.place[told.place]
        x = x + self.tone[told.tone] + self.rhyme[told.rhyme]  # (B, G H)
        after: list[Tensor] = []
        h = x
        for layer, (weight, bias) in enumerate(self.recurrent):
            if layer > 0:
                h = linear(h, *self.inner[layer - 1])
            parts = self._parts(state, layer)
            h, *others = self._advance(h, linear(parts[0], weight, bias), parts)
            after += [h, *others]
        return linear(linear(h, *self.project), *self.output), torch.stack(after)

    def _parts(self, state: Tensor, layer: int) -> Rows[Tensor]:
        each = self.state_parts // LAYERS
        return [state[layer * each + part] for part in range(each)]

    def _advance(self, x: Tensor, r: Tensor, parts: Rows[Tensor]) -> list[Tensor]:
        """New state of a layer from its input part `x` and recurrent part `r`, (B, G H) each."""
        if self.cell is Cell.RNN:
            return [torch.tanh(x + r)]
        if self.cell is Cell.GRU:
            x_reset, x_update, x_new = x.chunk(3, 1)
            r_reset, r_update, r_new = r.chunk(3, 1)
            reset, update = torch.sigmoid(x_reset + r_reset), torch.sigmoid(x_update + r_update)
            new = torch.tanh(x_new + reset * r_new)
            return [new + update * (parts[0] - new)]
        into, forget, new, out = (x + r).chunk(4, 1)
        memory = torch.sigmoid(forget) * parts[1] + torch.sigmoid(into) * torch.tanh(new)
        return [torch.sigmoid(out) * torch.tanh(memory), memory]
