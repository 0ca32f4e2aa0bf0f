"""Poems written for the tests: a few by hand, and as many as a test needs by rule.

The second kind keeps every rule of verse and means nothing.
"""

import json
from functools import cache
from pathlib import Path
from random import Random

from engine.verse.forms import FORMS, Form
from engine.verse.plan import Priors, make_plan
from engine.verse.templates import LineKind, patterns
from engine.verse.tones import Tone, readings
from trainer.corpus import FOLDER, CorpusPoem, Era

WUJUE = ("夜雨敲窗急", "孤燈照壁明", "故人千里外", "何處聽潮聲")
"""A wujue in 庚 that opens with kind A."""
QIJUE = ("細雨無聲落晚風", "石橋流水小樓東", "何人獨坐聽春夜", "一樹梨花月色中")
"""A qijue in 東 that opens with kind B, so its first line rhymes."""

CHARACTERS = (
    "風雨雲月山水花草江河天地人心春夏秋冬東西南北日夜光影聲色香寒清明白青紅黃綠高低遠近長短深淺"
    "新舊古今來去行坐看聽思憶夢醒醉酒茶琴書劍馬舟車路門窗樓臺亭橋寺鐘鼓城郭村野田園松竹梅蘭菊柳桃李"
    "荷蓮葉枝根雪霜露霧煙霞星河海潮波浪沙石泉溪湖池岸洲渡帆客僧友君王臣將軍士農漁樵翁兒女母父兄弟"
    "鄉國家室庭院簾帷床枕衣冠帶袖履杖笛簫笙歌舞詩詞文章言語笑淚愁悲歡喜怨恨離別逢迎送留歸飛落開閉"
    "生死老少年時歲晨昏朝暮晴陰晚早初終前後左右上中下內外空虛實有無多少一二三四五六七八九十百千萬里"
    "同公工功紅鴻通窮蓬松鐘龍容峰封雙邦窗支時詩知枝師飛微衣稀歸魚書居餘初無湖蘇都徒齊西低泥啼"
    "佳街懷階灰臺開來梅真身人春神文雲君聞分元門村魂寒難看山間還關閑先前年天仙蕭橋朝條肴交郊豪高"
    "歌多河何過麻花家沙霞陽香長光霜庚清情聲生明城青星亭靈蒸升燈僧尤秋流樓愁頭侵心林深金覃南含鹽"
)
"""Common characters of every kind, for poems made by rule. Some stand here twice."""

_EVEN = Priors(
    openings=dict.fromkeys(LineKind, 1.0),
    patterns={kind: (1.0,) * len(patterns(kind, 5)) for kind in LineKind},
    rhymes=dict.fromkeys("東支真先庚尤", 1.0),
)


def by_rule(count: int, *, seed: int = 0, era: Era = Era.TANG) -> list[CorpusPoem]:
    """`count` poems in all forms by turns, each keeping the rules of verse."""
    random = Random(seed)
    forms = list(FORMS.values())
    return [_poem(forms[number % 4], era, random) for number in range(count)]


def _poem(form: Form, era: Era, random: Random) -> CorpusPoem:
    plan = make_plan(form.name, {}, _EVEN, random)
    chars: list[str] = []
    for place in range(form.length):
        rhyme = plan.rhyme if plan.rhymes_at(place) else None
        chars.append(
            random.choice([c for c in _fitting(plan.tone_at(place), rhyme) if c not in chars])
        )
    text, length = "".join(chars), form.line_length
    lines = tuple(text[first : first + length] for first in range(0, len(text), length))
    return CorpusPoem(era=era, form=form, lines=lines)


@cache
def _fitting(tone: Tone | None, rhyme: str | None) -> list[str]:
    """The characters that may stand where this is wanted."""
    known = [char for char in sorted(set(CHARACTERS)) if readings(char).known]
    if rhyme is not None:
        return [char for char in known if rhyme in readings(char).rhymes]
    return [char for char in known if readings(char).admits(tone)]


def write_corpus(folder: Path, *, tang: int = 80, song: int = 80) -> Path:
    """A corpus in the files of the real one, made of poems by rule."""
    (folder / FOLDER).mkdir(parents=True)
    for seed, (era, count) in enumerate(((Era.TANG, tang), (Era.SONG, song))):
        path = folder / FOLDER / f"poet.{era}.0.json"
        entries = [entry(poem) for poem in by_rule(count, seed=seed, era=era)]
        path.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    return folder


def entry(poem: CorpusPoem) -> dict[str, object]:
    """A poem as the corpus has it."""
    couplets = [poem.lines[i : i + 2] for i in range(0, len(poem.lines), 2)]
    return {"title": "試", "author": "試", "paragraphs": [f"{a}，{b}。" for a, b in couplets]}
