"""How the anthology's tables came to be, step by step; `bot.anthology.migrate` walks them."""
