"""Traditional and simplified script, and the folding of variant glyphs.

Four needs, four functions. `fold` brings a glyph to the one form under which the corpus, the
vocabulary and the rhyme table know it (Taiwan's standard, by OpenCC's tables). `traditional`
lists every folded character that a glyph may stand for: 发 is 發 or 髮. `unify` makes one of all
that can be taken for one another, for whoever looks for what may be hidden. `simplified` renders
a poem for readers of simplified script. The person's own glyphs are never changed: folding is for
looking up, not for showing.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache

from opencc import OpenCC

# Hand-made glyphs of the corpus that no OpenCC table knows, each with the usual form.
_VARIANT_PAIRS = (
    "鬰鬱 鬭鬥 鬬鬥 鳬鳧 臯皋 髙高 馿驢 閙鬧 隣鄰 灧灩 灔灩 餠餅 産產 怱匆 悤匆 踈疏 疎疏 鳯鳳 "
    "畧略 邉邊 簑蓑 簔蓑 鏁鎖 鎻鎖 穉稚 峩峨 栢柏 幷并 倂併 逈迥 秖只 敎教 槩概 囘回 觧解 纒纏 "
    "濶闊 闗關 逺遠 寜寧 眀明 鐡鐵 寃冤 覔覓 氷冰 劔劍 劒劍 戸戶 飱飧 飡餐 笻筇 潄漱 憇憩 讐讎 "
    "呌叫 頳赬 躭耽 趂趁 舘館 閴闃 厠廁 凖準 郄卻 賖賒 逰遊 槖橐 輙輒 髩鬢 嚢囊 徃往 刼劫 擕攜 "
    "徤健 鵞鵝 裩褌 昻昂 曵曳 纎纖 聨聯 凴憑 飬養 嵓巖 巓顛 騐驗 冩寫 疉疊 亷廉 戞戛 籐藤 濵濱 "
    "倐倏 籖籤 烱炯 蠧蠹 敧攲 啣銜 翺翱 斵斲 廐廄 奬獎 恡吝 鷀鶿 蒭芻 礲礱 徧遍 烟煙 閒閑 慿憑 "
    "樷叢 麤粗 麄粗 覊羈 綉繡 駡罵 頽頹 羮羹 靣面 煖暖 淸清 靑青 眞真 尙尚 絶絕 説說 内內 晩晚 "
    "鷄雞 塲場 墻牆 牕窗 窓窗 窻窗 菴庵 覩睹 咏詠 嬾懶 翫玩 恠怪 霑沾 葢蓋 鼔鼓 鴈雁 醻酬 埽掃 "
    "箇個 个個 顔顏 緑綠 麽麼 斾旆 廻迴 殻殼 幙幕 蕚萼 氊氈 鬛鬣 漥窪 劚斸 斚斝 粃秕 蟇蟆 週周 "
    "轝輿 謡謠 脇脅 釡釜 陁陀 贋贗 膓腸 賫齎 澘潸 鄕鄉 蕋蕊 韲齏 虀齏 畆畝 飇飆 飈飆 卭邛 聼聽 "
    "頬頰 簮簪 攅攢 鬂鬢 韮韭 頴穎 埜野 尅剋 晳皙 煕熙 熈熙 繋繫 圗圖 虗虛 冦寇 冨富 筞策 崕崖 "
    "聫聯 羗羌 畵畫 冺泯 鍳鑑 彜彝 舃舄 廼乃 甦蘇 塼磚 游遊 佔占 悽凄 于於 挂掛 栖棲 岳嶽 燻熏 "
    "岩巖 洒灑 兇凶 夸誇 帘簾 涌湧 荐薦 瓮甕 洼窪 痒癢 扑撲 愿願 据據 机機 种種 异異 怜憐 体體 "
    "蚕蠶 党黨 坏壞 晒曬 杰傑 羡羨 豊豐 适適 儿兒 价價 虱蝨 袜襪 蜡蠟 丰豐 宁寧 咨諮 泞濘 厘釐 "
    "蝎蠍 昵暱 晄晃"
)
# OpenCC would merge these with another word; the corpus keeps them apart (天台 is no 臺).
_KEPT = frozenset("台")
_VARIANTS = {pair[0]: pair[1] for pair in _VARIANT_PAIRS.split()}

# Radicals that Unicode codes apart from the characters that they are, and that NFKC leaves alone
# (EquivalentUnifiedIdeograph.txt); those that look like no character of their own are left out.
_RADICAL_PAIRS = (
    "⺁厂 ⺄乙 ⺈刀 ⺊卜 ⺌小 ⺍小 ⺎兀 ⺐尢 ⺒巳 ⺓幺 ⺗心 ⺛旡 ⺜日 ⺝月 ⺠民 ⺧牛 ⺩王 ⺫目 "
    "⺬示 ⺯糹 ⺶羊 ⺹耂 ⺺肀 ⺻聿 ⺼肉 ⻁虎 ⻃覀 ⻄西 ⻅见 ⻆角 ⻉贝 ⻋车 ⻑長 ⻓长 ⻔门 ⻗雨 "
    "⻘青 ⻙韦 ⻚页 ⻛风 ⻜飞 ⻝食 ⻢马 ⻣骨 ⻤鬼 ⻥鱼 ⻦鸟 ⻧卤 ⻨麦 ⻩黄 ⻪黾 ⻫斉 ⻬齐 ⻭歯 "
    "⻮齿 ⻯竜 ⻰龙 ⻱龜 ⻲亀"
)
_TABLES = ("s2t", "t2s", "tw2t", "t2tw", "hk2t", "t2hk", "jp2t")

_HAN_BLOCKS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0x20000, 0x2FA1F),
    (0x30000, 0x323AF),
)


@cache
def _converter(name: str) -> OpenCC:
    return OpenCC(name)


def _convert(name: str, text: str) -> str:
    converted: str = _converter(name).convert(text)
    return converted


@lru_cache(maxsize=32768)
def is_han(char: str) -> bool:
    """Whether `char` is one Chinese character (no symbol, kana, emoji or surrogate)."""
    return len(char) == 1 and (
        char == "〇" or any(low <= ord(char) <= high for low, high in _HAN_BLOCKS)
    )


def clean(text: str) -> str:
    """`text` with compatibility forms made usual (NFKC) and invisible characters taken out.

    Lone surrogates, which JSON can carry, are dropped as well: no encoder would accept them.
    """
    unsurrogated = "".join(char for char in text if not 0xD800 <= ord(char) <= 0xDFFF)
    return "".join(
        char
        for char in unicodedata.normalize("NFKC", unsurrogated)
        if unicodedata.category(char) not in {"Cf", "Cc", "Mn"}
    )


def _is_traditional(char: str) -> bool:
    """Whether `char` is a character of traditional script in its own right, by Big5's list.

    So 里, 云 and 斗, which simplified script also writes for 裡, 雲 and 鬥, stay what they are.
    """
    try:
        char.encode("big5")
    except UnicodeEncodeError:
        return False
    return True


@lru_cache(maxsize=32768)
def fold(char: str) -> str:
    """The folded form of one traditional glyph: 爲 and 為 are 為, 牀 and 床 are 床.

    A glyph that is simplified only (来) folds to its traditional form where there is just one;
    where there are several (发), `traditional` lists them and this returns the commonest.
    """
    usual = unicodedata.normalize("NFKC", char)
    usual = _VARIANTS.get(usual, usual)
    if usual in _KEPT or len(usual) != 1:
        return usual
    standard = _convert("hk2t", _convert("tw2t", usual))
    if standard == usual and not _is_traditional(usual):
        # Japanese forms (顔, 遥) and simplified forms (来, 静) that crept into the corpus.
        for table in ("jp2t", "s2t"):
            other = _convert(table, usual)
            if other != usual:
                standard = other
                break
    folded = _convert("t2tw", standard)
    return _VARIANTS.get(folded, folded)


@cache
def _simplified_to_traditional() -> dict[str, tuple[str, ...]]:
    """For each simplified glyph, the folded characters that are written so, in code order."""
    candidates: dict[str, list[str]] = {}
    for code in (*range(0x4E00, 0xA000), *range(0x3400, 0x4DC0)):
        char = chr(code)
        folded = fold(char)
        if folded != char:
            continue
        simple = _convert("t2s", char)
        if simple != char:
            candidates.setdefault(simple, []).append(char)
    return {simple: tuple(chars) for simple, chars in candidates.items()}


def traditional(char: str) -> tuple[str, ...]:
    """Every folded character that the glyph `char` may stand for, likeliest first.

    发 gives 發 and 髮; 后 gives 後 and 后 (the empress); a traditional glyph gives itself folded.
    """
    return tuple(
        dict.fromkeys((fold(char), *_simplified_to_traditional().get(char, ()), *_own(char)))
    )


def _own(char: str) -> tuple[str, ...]:
    """`char` itself, where it is also a traditional character (后, 云, 里)."""
    return (char,) if _convert("t2s", char) == char and fold(char) != char else ()


def unify(char: str) -> str:
    """One character for all that can be taken for `char`, in any script: 髮 for 发, 發 and 発.

    Coarser than `fold`, for it follows every table both ways: what it brings together are words
    that need not be the same, so it is for finding what somebody may hide, and not for verse.
    """
    return _united().get(char, char)


@cache
def _united() -> dict[str, str]:
    """For each glyph that tables connect with others, the last of them all in code order.

    The last, for then it is no radical.
    """
    above: dict[str, str] = {}

    def last(char: str) -> str:
        while (higher := above.get(char, char)) != char:
            char = higher
        return char

    for one, other in _connections():
        low, high = sorted((last(one), last(other)))
        above[low] = high
    return {char: last(char) for char in above}


def _connections() -> Iterator[tuple[str, str]]:
    """Two glyphs that some table takes for one another, for every such pair."""
    for pair in (*_VARIANT_PAIRS.split(), *_RADICAL_PAIRS.split()):
        yield pair[0], pair[1]
    chars = [chr(code) for low, high in _HAN_BLOCKS for code in range(low, high + 1)]
    # A line each: no phrase of a table reaches from one into the next.
    rows = "\n".join(chars)
    for table in _TABLES:
        for char, other in zip(chars, _convert(table, rows).split("\n"), strict=True):
            if char != other and len(other) == 1:
                yield char, other


def simplified(text: str) -> str:
    """`text` in simplified script, by OpenCC's phrase tables."""
    return _convert("t2s", text)


def is_simplified(text: str) -> bool:
    """Whether `text` uses a glyph that exists in simplified script only."""
    return any(is_han(char) and _convert("s2t", char) != char for char in text) and (
        simplified(text) == text
    )
