"""What the ratings of each poem come to, kept by the database; what days that are over came to."""

# What is put together here are constants.
# ruff: noqa: S608

import sqlalchemy as sa
from alembic import op

revision = "v0006"
down_revision = "v0005"
branch_labels = None
depends_on = None

_WORTH = (
    "(CASE WHEN {0}.stars IS NOT NULL THEN ({0}.stars - 1) / 4.0 ELSE ({0}.vote + 1) / 2.0 END)"
)
_UP = "(CASE WHEN {0}.vote = 1 THEN 1 ELSE 0 END)"
_GAVE = [f"(CASE WHEN {{0}}.stars = {stars} THEN 1 ELSE 0 END)" for stars in range(1, 6)]
_STARS = [f"stars{stars}" for stars in range(1, 6)]

_COLUMNS = f"(poem, chat, shown_at, ratings, worth, up, {', '.join(_STARS)}, standing)"
_ADD = f"""
INSERT INTO standings {_COLUMNS}
SELECT poems.id, poems.chat, poems.shown_at, 1, {_WORTH}, {_UP}, {", ".join(_GAVE)},
    ({_WORTH} + 2.0) / 5.0
FROM poems WHERE poems.id = {{0}}.poem
ON CONFLICT (poem) DO UPDATE SET
    ratings = standings.ratings + 1,
    worth = standings.worth + excluded.worth,
    up = standings.up + excluded.up,
    {", ".join(f"{name} = standings.{name} + excluded.{name}" for name in _STARS)},
    standing = (standings.worth + excluded.worth + 2.0) / (standings.ratings + 5.0);
""".format("NEW")
_TAKE = f"""
UPDATE standings SET
    ratings = ratings - 1,
    worth = worth - {_WORTH},
    up = up - {_UP},
    {", ".join(f"{name} = {name} - {gave}" for name, gave in zip(_STARS, _GAVE, strict=True))},
    standing = (worth - {_WORTH} + 2.0) / (ratings + 3.0)
WHERE poem = {{0}}.poem;
""".format("OLD")
_FOLLOW = """
UPDATE standings SET chat = NEW.chat, shown_at = NEW.shown_at WHERE poem = NEW.id;
"""
_COUNT_ALL = f"""
INSERT INTO standings {_COLUMNS}
SELECT poems.id, poems.chat, poems.shown_at, counted.ratings, counted.worth, counted.up,
    {", ".join(_STARS)}, (counted.worth + 2.0) / (counted.ratings + 4.0)
FROM poems JOIN (
    SELECT poem, count(*) AS ratings, sum({_WORTH}) AS worth, sum({_UP}) AS up,
        {", ".join(f"sum({gave}) AS {name}" for name, gave in zip(_STARS, _GAVE, strict=True))}
    FROM ratings GROUP BY poem
) AS counted ON counted.poem = poems.id
""".format("ratings")

_TRIGGERS = {
    # What it is called: when, on which table, and what it does.
    "rating_comes": ("INSERT", "ratings", _ADD),
    "rating_goes": ("DELETE", "ratings", _TAKE),
    "rating_changes": ("UPDATE OF vote, stars", "ratings", _TAKE + _ADD),
    "poem_moves": ("UPDATE OF chat, shown_at", "poems", _FOLLOW),
}


def upgrade() -> None:
    """Make the tables and the triggers that keep the first of them, and count once."""
    op.create_table(
        "standings",
        sa.Column("poem", sa.String(), nullable=False),
        sa.Column("chat", sa.String(), nullable=False),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ratings", sa.Integer(), nullable=False),
        sa.Column("worth", sa.Double(), nullable=False),
        sa.Column("up", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in _STARS),
        sa.Column("standing", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("poem", name="pk_standings"),
        sa.ForeignKeyConstraint(
            ["poem"], ["poems.id"], name="fk_standings_poem", ondelete="CASCADE"
        ),
    )
    op.execute(_COUNT_ALL)
    op.create_index("ix_standings_chat", "standings", ["chat", "standing", "ratings", "shown_at"])
    several = sa.text(f"{' + '.join(_STARS)} > 1")
    op.create_index(
        "ix_standings_stars",
        "standings",
        _STARS,
        sqlite_where=several,
        postgresql_where=several,
    )
    for name, (when, table, work) in _TRIGGERS.items():
        _make_trigger(name, when, table, work)
    op.create_table(
        "days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("cell", sa.String(), nullable=False),
        sa.Column("ratings", sa.Integer(), nullable=False),
        sa.Column("worth", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("day", "cell", name="pk_days"),
    )
    op.drop_index("ix_poems_shown_at", table_name="poems")
    op.create_index("ix_poems_shown_at", "poems", ["shown_at", "cell", "checkpoint"])


def downgrade() -> None:
    """Drop them again."""
    op.drop_index("ix_poems_shown_at", table_name="poems")
    op.create_index("ix_poems_shown_at", "poems", ["shown_at"])
    op.drop_table("days")
    for name, (_, table, _) in _TRIGGERS.items():
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"DROP TRIGGER {name} ON {table}")
            op.execute(f"DROP FUNCTION {name}")
        else:
            op.execute(f"DROP TRIGGER {name}")
    op.drop_table("standings")


def _make_trigger(name: str, when: str, table: str, work: str) -> None:
    head = f"CREATE TRIGGER {name} AFTER {when} ON {table} FOR EACH ROW"
    if op.get_bind().dialect.name == "postgresql":
        body = f"BEGIN {work} RETURN NULL; END"
        op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
        op.execute(f"{head} EXECUTE FUNCTION {name}()")
    else:
        op.execute(f"{head} BEGIN {work} END")
