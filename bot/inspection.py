"""`/check`: a poem's tones line by line, and in plain words which rule fails where."""

from bot import texts
from bot.language import Language
from bot.quotation import TEXT_MAX, Quoted
from bot.requests import Answer, Refusal, Request, Situation, refuse
from bot.rewriting import poem_at_hand
from bot.style import form_title, rhyme_title
from bot.styled import SpanKind, Styled, in_style, joined
from bot.texts import Text
from engine.verse.checker import Rule, Verdict, Violation, check
from engine.verse.tones import Tone

FAULTS: dict[Rule, Text] = {
    Rule.RHYME: texts.FAULT_RHYME,
    Rule.TONE: texts.FAULT_TONE,
    Rule.OPPOSITION: texts.FAULT_OPPOSITION,
    Rule.ADHESION: texts.FAULT_ADHESION,
    Rule.LONE_LEVEL: texts.FAULT_LONE_LEVEL,
    Rule.LEVEL_ENDING: texts.FAULT_LEVEL_ENDING,
    Rule.REPEATED_LINE: texts.FAULT_REPEATED_LINE,
    Rule.REPEATED_RHYME: texts.FAULT_REPEATED_RHYME,
}
"""What each rule that a poem of some form can break is called; `FORMAT` and `OPENING` cannot be."""


def read_check_request(arguments: str, situation: Situation) -> Request:
    """What follows /check: a poem, or nothing where one is at hand."""
    if len(arguments) > TEXT_MAX:
        return refuse(texts.TEXT_TOO_LONG, situation, most=TEXT_MAX)
    poem = poem_at_hand(arguments, situation)
    if isinstance(poem, Refusal):
        return poem
    described = describe_poem(poem, situation.language)
    return Answer(text=described.text, spans=described.spans)


def describe_poem(poem: Quoted, language: Language) -> Styled:
    """The lines of `poem`, each above its tones, then its form, its rhyme and what is wrong."""
    verdict = check(poem.lines)
    rows = [row for pair in zip(poem.glyphs, verdict.tones, strict=True) for row in pair]
    title = form_title(poem.form, language)
    if verdict.rhyme is None:
        head = texts.CHECKED_UNRHYMED.say(language, form=title)
    else:
        rhyme = rhyme_title(verdict.rhyme, language)
        head = texts.CHECKED.say(language, form=title, rhyme=rhyme)
    found = [_in_words(violation, poem, verdict, language) for violation in verdict.violations]
    legend = [texts.TONE_LEGEND.say(language)] if set("".join(verdict.tones)) & set("中？") else []
    said = [head, *(found or [texts.CHECKED_WELL.say(language)]), *legend]
    # Each tone stands below its character.
    return joined([in_style(SpanKind.PRE, "\n".join(rows)), "\n".join(said)], by="\n\n")


def _in_words(violation: Violation, poem: Quoted, verdict: Verdict, language: Language) -> str:
    line, place = violation.line or 1, violation.place or poem.form.line_length
    text = FAULTS[violation.rule]
    if violation.rule is Rule.RHYME and verdict.rhyme is None:
        text = texts.FAULT_NO_RHYME
    tone = texts.LEVEL_TONE if violation.wanted is Tone.LEVEL else texts.OBLIQUE_TONE
    return text.say(
        language,
        line=line,
        place=place,
        char=poem.glyphs[line - 1][place - 1],
        tone=tone.say(language),
        rhyme=rhyme_title(verdict.rhyme or "", language),
    )
