"""The pages docs/quality.md and docs/samples.md, from figures."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.measures import OPENINGS, SAME_OPENING, SAMPLE, SEARCHED, Figures
from engine.jobs import USUAL_TEMPERATURE
from engine.verse.checker import Rule
from engine.verse.forms import FORMS, FormName

_RULES = {
    "all": "all",
    Rule.FORMAT: "format",
    Rule.OPENING: "opening",
    Rule.RHYME: "rhyme",
    "even_rhyme": "of even lines",
    "tones": "whole pattern",
    Rule.TONE: "平仄",
    Rule.OPPOSITION: "对",
    Rule.ADHESION: "粘",
    Rule.LONE_LEVEL: "no 孤平",
    Rule.LEVEL_ENDING: "no 三平尾",
    Rule.REPEATED_LINE: "no line twice",
    Rule.REPEATED_RHYME: "no rhyme twice",
}

_KINDS = ("rules", "chosen")
"""The rates of the rules: of first candidates, and of the best of several."""

WRITERS = 2
"""Of so many models docs/samples.md shows poems."""

_INTRODUCTION = """\
# Quality

What the verse is worth in figures, beside two baselines and real Tang poems. The tables are
printed and this page is written by one command, from the data folder's state:

```sh
python -m benchmarks.course lstm                    # once; half an hour of one core
for cell in rnn gru lstm; do                        # if wanted: the cells compared, small
    python -m benchmarks.course $cell --share 0.22
done
python -m benchmarks.quality                        # all that is not yet known
python -m benchmarks.quality --checkpoint rnn-…     # with another model
```

Without the corpus, `--data FILE` reads a pack. Figures are kept, so a second run measures only what
is new; `--again rules` measures the parts of that name anew. `docs/samples.md` shows poems.
"""

_DEFINITIONS = f"""\
## What is measured

**Perplexity** ([training](training.md)): exp of the mean negative log likelihood a Chinese
character, over the frozen Tang test poems, punctuation left out. The model is told the form only;
*told* means the poem's tones and rhyme as well, as when the engine writes. A character outside the
vocabulary is charged log p(`<unk>`) plus the log of the number of such types.

**The baselines.** *5-gram*: interpolated modified Kneser-Ney (Chen & Goodman 1999), told the form
by its boundary signs. *Course*: embedding 128, two recurrent layers of 256, Adam at 1e-3, the text
with its punctuation between a start and an end sign, and no rules. It has read the same
13.5 million characters, in the same stages, as the recipe `cpu` reads (*× 0.22*: 3 million). The
bundled models, trained on by `cpu-again` and `cpu-last`, have read 25 million; after the first 13.5
million their perplexities were 137.1 (gru) and 123.7 (lstm). Our `rnn` has read those 13.5 million
and no more, by the same recipe and its rate, which is too high for it
([decision 16](decisions/0016-what-made-the-language-better.md)); it is not bundled and has no
critic. At the place of a character its softmax is over characters only, so it is not charged for
doubting where a line ends: that is in its favour. It writes from a first character by argmax, by
plain sampling, or by beam search with length normalisation, α = 0.75 (Wu et al. 2016); *state σ*
draws the initial state from N(0, σ²) instead of zeros.

**Rules** (`engine.verse.checker`; 王力《詩詞格律》): shares of poems that keep a rule, polyphones
permissive. *Rhyme* asks the first line too where its tones say that it rhymes; *of even lines*
does not: Tang poets let the first line rhyme in a neighbouring group (鄰韻). *Whole pattern* is
平仄, 对, 粘, 孤平 and 三平尾 together. A poem in no form, or in another than was asked, keeps none.

**Samples**: {SAMPLE} poems, {SAMPLE // len(FORMS)} a form where a form can be asked for, one for
each of the {SAMPLE} commonest first characters of Tang poems. Real Tang: the first poems of each
form in the test split. n-grams do not cross lines.

- *repetition*: the share of a poem's characters that stood before in it; mean over poems.
- *distinct-1*, *-2*: different n-grams over all n-grams of the sample (Li et al. 2016). It falls
  with the size of the sample, which is why that is given in characters.
- *alike*: mean Jaccard similarity (Jaccard 1912) of the bigram sets of poems with one opening,
  {SAME_OPENING} qijue for each of {OPENINGS} openings; for real Tang, qijue of the training split.
  Of ours by argmax or beam search there are {SEARCHED}, which differ by their plan, which is to say
  by tones and rhyme.
- *copied poems*: poems with a whole line of the training set (Tang and Song). *Longest copy*: the
  longest substring of a line that a training line has, mean over lines, in characters.
  *Copied 4-grams*: the share of 4-grams that stand in a training line.
- *relevance*: mean PPMI (Church & Hanks 1990; Bullinaria & Levy 2007) of the first character with
  every other of the poem, co-occurrence counted by poem over the training split; *by chance*, the
  same where each poem is given the first character of another of the sample.

**BLEU** (Papineni et al. 2002) by characters, of the likeliest next line, character by character,
against the real one: lines 2 and 4 of the test poems, all before them given. One is added to
matches and totals above single characters (Lin & Och 2004).
"""


def quality_page(
    figures: Mapping[str, Figures], models: Mapping[str, Path], *, candidates: int
) -> str:
    """docs/quality.md."""
    named = [f"`{name}` is {path.name}" for name, path in models.items()]
    sections = [
        _INTRODUCTION + f"\nMeasured here: {'; '.join(named)}.\n",
        _wanted(figures, models, candidates),
        _perplexity(figures),
        _rules(figures, models, candidates),
        _checker(figures),
        _samples(figures, candidates),
        _next_lines(figures),
        _DEFINITIONS,
    ]
    return "\n".join(sections)


def samples_page(
    figures: Mapping[str, Figures], models: Mapping[str, Path], *, candidates: int
) -> str:
    """docs/samples.md: of each form, odd seeds by the first model and even ones by the second."""
    writers = list(models)[:WRITERS]
    shown = {name: figures[f"poems/{name}"] for name in writers}
    heads = shown[writers[0]]["openings"]
    ids = ", ".join(f"`{name}` is {models[name].name}" for name in writers)
    about = (
        f"Forty poems, none picked: seeds 1 to {OPENINGS} of each form at temperature "
        f"{USUAL_TEMPERATURE}, the best of {candidates} candidates by the engine's choice; "
        f"poem k begins with the k-th commonest first character of Tang poems ({' '.join(heads)}). "
        f"Odd seeds are by `{writers[0]}`, even ones by `{writers[-1]}`: {ids}. Written by "
        "`python -m benchmarks.quality`.\n"
    )
    parts = ["# Samples\n", about]
    for form in FormName:
        parts.append(f"## {FORMS[form].title} (`{form}`)\n")
        for seed in range(1, OPENINGS + 1):
            writer = writers[(seed - 1) % len(writers)]
            (text,) = (
                poem["text"]
                for poem in shown[writer]["poems"]
                if (poem["form"], poem["seed"]) == (form, seed)
            )
            parts.append(f"{seed}. {writer}: {text or '(refused)'}")
        parts.append("")
    parts.append("## The course's model\n")
    parts.append(
        f"The same openings, plain sampling at {USUAL_TEMPERATURE}, seed 1, nothing left out.\n"
    )
    texts = figures["poems/course lstm"]["poems"]
    parts += [f"{number}. {text}" for number, text in enumerate(texts, start=1)]
    return "\n".join(parts) + "\n"


def _wanted(figures: Mapping[str, Figures], models: Mapping[str, Path], candidates: int) -> str:
    rows = [
        ["perplexity, of the course LSTM's", "≤ 0.60"],
        ["perplexity, of the 5-gram's", "≤ 0.45"],
        ["poems that keep all rules, over the poems below", "100 %"],
        ["poems with a line of the corpus", "0"],
        ["distinct-2, of real Tang's", "0.95 to 1.05"],
        ["alike", "≤ 0.020"],
    ]
    for name in models:
        perplexity = figures[f"perplexity/{name}"]["perplexity"]
        rules = [figures[f"{kind}/{name}/{form}"] for kind in _KINDS for form in FormName]
        sample = figures[f"sample/{name}/{USUAL_TEMPERATURE}/{candidates}"]
        kept = sum(entry["rates"]["all"] * entry["poems"] for entry in rules)
        values = [
            f"{perplexity / figures['perplexity/course lstm']['perplexity']:.2f}",
            f"{perplexity / figures['perplexity/5-gram, Tang and Song']['perplexity']:.2f}",
            f"{_percent(kept / sum(entry['poems'] for entry in rules))} %",
            f"{sum(entry['copied'] for entry in rules)}",
            f"{sample['distinct_2'] / figures['sample/Tang']['distinct_2']:.2f}",
            f"{sample['likeness']:.3f}",
        ]
        for row, value in zip(rows, values, strict=True):
            row.append(value)
    return (
        f"## What was wanted, and what it is\n\nAt temperature {USUAL_TEMPERATURE}; the last two "
        f"of the best of {candidates} candidates.\n\n" + _table(["figure", "wanted", *models], rows)
    )


def _perplexity(figures: Mapping[str, Figures]) -> str:
    found = _under("perplexity/", figures)
    course, ngram = (found[name]["perplexity"] for name in ("course lstm", "5-gram, Tang and Song"))
    rows = [
        [
            name,
            _millions(entry.get("parameters")),
            f"{entry['perplexity']:.1f}",
            *(f"{entry['by_form'][form]:.1f}" for form in FormName),
            f"{entry['told']:.1f}" if "told" in entry else "",
            f"{entry['perplexity'] / course:.2f}",
            f"{entry['perplexity'] / ngram:.2f}",
        ]
        for name, entry in sorted(found.items(), key=lambda item: -item[1]["perplexity"])
    ]
    first = next(iter(found.values()))
    head = ["model", "parameters", "all", *FormName, "told", "of course", "of 5-gram"]
    return (
        f"## Perplexity\n\n{first['characters']:,} characters of Tang test poems, "
        f"{first['unknown']} of them unknown. *Of course* and *of 5-gram*: the share of the course "
        "LSTM's and of the 5-gram's (Tang and Song). "
        "`a + b` is the mean of two models' probabilities.\n\n" + _table(head, rows)
    )


def _rules(figures: Mapping[str, Figures], models: Mapping[str, Path], candidates: int) -> str:
    return (
        f"## The rules\n\nAt temperature {USUAL_TEMPERATURE}. The openings are spread over the "
        "3,000 commonest characters, so many are unusual. Per cent of the poems; the last two "
        "columns are counts of poems. First many poems, the first candidate that passes: choosing "
        "among several comes after the rules.\n\n"
        + _rule_table(figures, models, "rules")
        + f"\nThen fewer as people get them, the best of {candidates} candidates:\n\n"
        + _rule_table(figures, models, "chosen")
        + "\nAcrostics, their heads drawn at random from the same characters (asks that no "
        "template admits are refused before anything is written, and left out here):\n\n"
        + _acrostic_table(figures, models)
    )


def _acrostic_table(figures: Mapping[str, Figures], models: Mapping[str, Path]) -> str:
    rows = []
    for name in models:
        for form in FormName:
            entry = figures[f"acrostics/{name}/{form}"]
            row = [name, form, f"{entry['poems']:,}", f"{entry['refused']}"]
            rows.append([*row, _percent(entry["heads"]), _percent(entry["all"])])
    return _table(["model", "form", "poems", "refused", "heads as asked", "all rules"], rows)


def _rule_table(figures: Mapping[str, Figures], models: Mapping[str, Path], kind: str) -> str:
    rows = []
    for name in models:
        for form in FormName:
            entry = figures[f"{kind}/{name}/{form}"]
            row = [name, form, f"{entry['poems']:,}", f"{entry['refused']}"]
            row += [_percent(entry["rates"][rule]) for rule in _RULES]
            rows.append([*row, f"{entry['copied']}", f"{entry['unknown']}"])
    head = ["model", "form", "poems", "refused", *_RULES.values(), "with a copied line", "<unk>"]
    return _table(head, rows)


def _checker(figures: Mapping[str, Figures]) -> str:
    rows = []
    for kind in ("real", "shuffled"):
        for form in FormName:
            entry = figures[f"checker/{form}"]
            rates = [_percent(entry[kind][rule]) for rule in _RULES]
            rows.append([kind, form, f"{entry['poems']:,}", *rates])
    return (
        "## The checker against real poems\n\nClean Tang poems of all splits, but those with a "
        "character outside the vocabulary, and the same poems with their characters shuffled. A "
        "checker that called real verse wrong, or nonsense right, would show here. Per cent.\n\n"
        + _table(["poems", "form", "count", *_RULES.values()], rows)
    )


_SAMPLE_RULES = ("all", Rule.FORMAT, Rule.RHYME, "tones")


def _samples(figures: Mapping[str, Figures], candidates: int) -> str:
    rows = []
    for name, entry in _under("sample/", figures).items():
        rates = [_percent(entry["rates"][rule]) for rule in _SAMPLE_RULES]
        rows.append(
            [
                _sample_title(name, candidates),
                f"{entry['characters']:,}",
                *rates,
                f"{entry['repetition']:.3f}",
                f"{entry['distinct_1']:.3f}",
                f"{entry['distinct_2']:.3f}",
                f"{entry['likeness']:.3f}",
                _percent(entry["copied_poems"]),
                f"{entry['longest_copy']:.2f}",
                _percent(entry["copied_fourgrams"]),
                f"{entry['relevance']:.3f}",
                f"{entry['relevance_by_chance']:.3f}",
            ]
        )
    rows.sort(key=lambda row: (not row[0].startswith("Tang"), row[0].startswith("course")))
    head = ["poems", "characters", *(_RULES[rule] for rule in _SAMPLE_RULES), "repetition"]
    head += ["distinct-1", "distinct-2", "alike", "copied poems", "longest copy"]
    head += ["copied 4-grams", "relevance", "by chance"]
    return f"## Samples of {SAMPLE} poems\n\nReal Tang is the reference.\n\n" + _table(head, rows)


def _sample_title(name: str, candidates: int) -> str:
    """`gru/0.8/8` as `gru, 0.8, best of 8`."""
    parts = name.split("/")
    if len(parts) == 3:
        chosen = f"best of {candidates}" if parts[2] != "1" else "first"
        return f"{parts[0]}, {parts[1]}, {chosen}"
    return ", ".join(parts)


def _next_lines(figures: Mapping[str, Figures]) -> str:
    found = _under("next/", figures)
    rows = [
        [name, *(f"{entry[f'bleu_{n}']:.4f}" for n in (1, 2, 3, 4))]
        for name, entry in sorted(found.items(), key=lambda item: item[1]["bleu_1"])
    ]
    lines = next(iter(found.values()))["lines"]
    return (
        f"## The next line\n\nOver {lines:,} lines. *Another poem* is the same line of another "
        "test poem: what any well-made line gets.\n\n"
        + _table(["model", *(f"BLEU-{n}" for n in (1, 2, 3, 4))], rows)
    )


def _under(prefix: str, figures: Mapping[str, Figures]) -> dict[str, Figures]:
    return {
        name.removeprefix(prefix): entry
        for name, entry in figures.items()
        if name.startswith(prefix)
    }


def _percent(share: float) -> str:
    """A share as per cent; 100 only where it is all of them."""
    text = f"{100 * share:.1f}"
    return "99.9" if text == "100.0" and share < 1 else text.removesuffix(".0")


def _millions(count: int | None) -> str:
    return f"{count / 1e6:.1f} M" if count else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
