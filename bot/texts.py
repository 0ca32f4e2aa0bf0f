"""Every sentence Yuefu says, in every language, side by side.

A sentence is a `Text` constant; `{names}` in it are filled by `Text.say`. A refusal is one line
that says what was wrong and what to do.
"""

from dataclasses import dataclass

from bot.language import Language


@dataclass(frozen=True, kw_only=True)
class Text:
    """One sentence in every language."""

    zh: str
    zh_hant: str
    en: str

    def say(self, language: Language, **values: object) -> str:
        """The sentence in `language`, with its names filled in."""
        return self.versions()[language].format(**values)

    def versions(self) -> dict[Language, str]:
        """The sentence by language."""
        return {Language.ZH: self.zh, Language.ZH_HANT: self.zh_hant, Language.EN: self.en}


# --- what the commands are -----------------------------------------------------------------

HELP_START = Text(zh="打个招呼", zh_hant="打個招呼", en="say hello")
HELP_HELP = Text(zh="我会什么", zh_hant="我會什麼", en="what I can do")
HELP_POEM = Text(
    zh="写一首诗：/poem 月，/poem 明月 七律",
    zh_hant="寫一首詩：/poem 月，/poem 明月 七律",
    en="write a poem: /poem 月, /poem 明月 七律",
)
HELP_STYLE = Text(
    zh="看或改写法：/style gru 0.8 七绝",
    zh_hant="看或改寫法：/style gru 0.8 七絕",
    en="see or change the style: /style gru 0.8 七绝",
)
ARGUMENTS_POEM = Text(zh="[开头] [诗体]", zh_hant="[開頭] [詩體]", en="[opening] [form]")
ARGUMENTS_STYLE = Text(
    zh="[模型] [温度] [诗体]", zh_hant="[模型] [溫度] [詩體]", en="[cell] [temperature] [form]"
)

# --- answers -------------------------------------------------------------------------------

WELCOME = Text(
    zh="我是乐府，写近体诗。发 /poem 月，我就写一首以「月」开头的诗；/help 看全部命令。",
    zh_hant="我是樂府，寫近體詩。發 /poem 月，我就寫一首以「月」開頭的詩；/help 看全部命令。",
    en="I am Yuefu, and I write classical Chinese poems. Send /poem 月 for a poem that begins "
    "with 月 (moon), or /help for all commands.",
)
HELP_HEADING = Text(
    zh="我写五绝、七绝、五律、七律，开头由你定（最多七个字）：",
    zh_hant="我寫五絕、七絕、五律、七律，開頭由你定（最多七個字）：",
    en="I write 五绝 wujue, 七绝 qijue, 五律 wulu and 七律 qilu. You choose how the poem begins "
    "(up to seven characters):",
)
STYLE_SHOWN = Text(
    zh="现在的写法：{cell}，温度 {temperature}，诗体{form}。要改就发 /style lstm 0.6 七绝。",
    zh_hant="現在的寫法：{cell}，溫度 {temperature}，詩體{form}。要改就發 /style lstm 0.6 七絕。",
    en="The style here: {cell}, temperature {temperature}, form {form}. "
    "To change it: /style lstm 0.6 七绝.",
)
STYLE_CHANGED = Text(
    zh="好，以后这样写：{cell}，温度 {temperature}，诗体{form}。",
    zh_hant="好，以後這樣寫：{cell}，溫度 {temperature}，詩體{form}。",
    en="Done. From now on: {cell}, temperature {temperature}, form {form}.",
)
ANY_FORM = Text(zh="不限", zh_hant="不限", en="any")
COLOPHON = Text(
    zh="{form} · {rhyme}韵 · {cell}",
    zh_hant="{form} · {rhyme}韻 · {cell}",
    en="{form} · rhyme {rhyme} · {cell}",
)

# --- refusals: what a person asked for cannot be ---------------------------------------------

UNKNOWN_COMMAND = Text(
    zh="没有这个命令；发 /help 看我会什么。",
    zh_hant="沒有這個命令；發 /help 看我會什麼。",
    en="There is no such command; send /help to see what I can do.",
)
NOT_A_COMMAND = Text(
    zh="想要一首诗，就发 /poem 加开头的字，比如 /poem 月。",
    zh_hant="想要一首詩，就發 /poem 加開頭的字，比如 /poem 月。",
    en="For a poem, send /poem and how it should begin, such as /poem 月.",
)
BROKEN_TEXT = Text(
    zh="这条消息里有损坏的字符；请重新输入再发一次。",
    zh_hant="這則訊息裡有損壞的字元；請重新輸入再發一次。",
    en="Your message holds broken characters; please type it again.",
)
NOT_CHINESE = Text(
    zh="诗的开头要用汉字，比如 /poem 月。",
    zh_hant="詩的開頭要用漢字，比如 /poem 月。",
    en="A poem has to begin with Chinese characters, such as /poem 月.",
)
OPENING_TOO_LONG = Text(
    zh="开头最多{most}个字，请短一些，比如 /poem 明月。",
    zh_hant="開頭最多{most}個字，請短一些，比如 /poem 明月。",
    en="An opening has at most {most} characters; please send a shorter one, such as /poem 明月.",
)
LINE_TOO_SHORT = Text(
    zh="{form}一行只有{length}个字，放不下这个开头；请缩短，或改用七言。",
    zh_hant="{form}一行只有{length}個字，放不下這個開頭；請縮短，或改用七言。",
    en="A line of {form} has only {length} characters, fewer than your opening; "
    "shorten it or ask for 七绝 or 七律.",
)
TWO_FORMS = Text(
    zh="一首诗只能用一种诗体；请只写一种，比如 /poem 月 七绝。",
    zh_hant="一首詩只能用一種詩體；請只寫一種，比如 /poem 月 七絕。",
    en="A poem has one form; please name only one, such as /poem 月 七绝.",
)
TONE_MISPLACED = Text(
    zh="按{form}的格律，第{place}个字要用{tone}声，「{char}」不合；请换个字，或换个诗体。",
    zh_hant="按{form}的格律，第{place}個字要用{tone}聲，「{char}」不合；請換個字，或換個詩體。",
    en="In {form}, character {place} must be {tone}, and {char} is not; "
    "please change it or try another form.",
)
RHYME_IMPOSSIBLE = Text(
    zh="按{form}的格律，这个开头押不上韵；请换个开头，或换个诗体。",
    zh_hant="按{form}的格律，這個開頭押不上韻；請換個開頭，或換個詩體。",
    en="In {form}, this opening leaves no rhyme; please change it or try another form.",
)
LEVEL_TONE = Text(zh="平", zh_hant="平", en="level (平)")
OBLIQUE_TONE = Text(zh="仄", zh_hant="仄", en="oblique (仄)")
STYLE_UNCLEAR = Text(
    zh="这个写法我不懂；可以写模型（{cells}）、温度（{low}–{high}）和诗体，"
    "比如 /style gru 0.8 七绝。",
    zh_hant="這個寫法我不懂；可以寫模型（{cells}）、溫度（{low}–{high}）和詩體，"
    "比如 /style gru 0.8 七絕。",
    en="I do not know that style; name a model ({cells}), a temperature ({low}–{high}) and a form, "
    "such as /style gru 0.8 七绝.",
)
TEMPERATURE_OUT_OF_RANGE = Text(
    zh="温度要在 {low} 和 {high} 之间，比如 /style 0.8。",
    zh_hant="溫度要在 {low} 和 {high} 之間，比如 /style 0.8。",
    en="The temperature must be between {low} and {high}, such as /style 0.8.",
)
CELL_NOT_RUNNING = Text(
    zh="{cell} 模型现在没有运行；可以用：{cells}。",
    zh_hant="{cell} 模型現在沒有執行；可以用：{cells}。",
    en="No {cell} model is running now; you can choose: {cells}.",
)

# --- failures: what was accepted did not become a poem ---------------------------------------

BUSY = Text(
    zh="排队的人太多了，请过一分钟再试。",
    zh_hant="排隊的人太多了，請過一分鐘再試。",
    en="Too many people are waiting; please try again in a minute.",
)
FAILED_EXPIRED = Text(
    zh="等得太久，这首诗没写成；请再发一次。",
    zh_hant="等得太久，這首詩沒寫成；請再發一次。",
    en="You waited too long and the poem was given up; please ask again.",
)
FAILED_NO_MODEL = Text(
    zh="这里用的模型现在没有运行；发 /style gru 换一个再试。",
    zh_hant="這裡用的模型現在沒有執行；發 /style gru 換一個再試。",
    en="The model of this chat is not running now; change it with /style gru and try again.",
)
FAILED_NO_TEMPLATE = Text(
    zh="没有格律容得下这个开头；请换个开头，或换个诗体。",
    zh_hant="沒有格律容得下這個開頭；請換個開頭，或換個詩體。",
    en="No tone pattern admits this opening; please change it or try another form.",
)
FAILED_INTERNAL = Text(
    zh="我这边出了错，这首诗没写成；请再发一次。",
    zh_hant="我這邊出了錯，這首詩沒寫成；請再發一次。",
    en="Something failed on my side and the poem was not written; please ask again.",
)
FAILED_BURIED = Text(
    zh="这首诗怎么也写不成；请换个开头再试。",
    zh_hant="這首詩怎麼也寫不成；請換個開頭再試。",
    en="This poem would not be written; please try another opening.",
)

# --- console -------------------------------------------------------------------------------

CONSOLE_HINT = Text(
    zh="/help 看命令，/quit 离开。",
    zh_hant="/help 看命令，/quit 離開。",
    en="/help lists the commands, /quit leaves.",
)
CONSOLE_WAKING = Text(zh="诗人正在醒来……", zh_hant="詩人正在醒來……", en="The poet is waking up …")
CONSOLE_NO_ANSWER = Text(
    zh="诗人没有回答；请看日志。",
    zh_hant="詩人沒有回答；請看日誌。",
    en="The poet did not answer; please see the log.",
)
