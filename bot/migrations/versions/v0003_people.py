"""Ratings, consents, the audit log, what chats choose; people and chats under pseudonyms."""

import sqlalchemy as sa
from alembic import context, op

revision = "v0003"
down_revision = "v0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and columns, and give every chat its pseudonym."""
    op.add_column("chats", sa.Column("chosen_language", sa.String(), nullable=True))
    op.add_column("chats", sa.Column("chosen_script", sa.String(), nullable=True))
    op.add_column(
        "chats",
        sa.Column("admins_curate", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("poems", sa.Column("asker", sa.String(), nullable=True))
    op.add_column("poems", sa.Column("wanted_rhyme", sa.String(), nullable=True))
    op.add_column(
        "poems", sa.Column("theme", sa.String(), nullable=False, server_default=sa.text("''"))
    )
    op.create_index("ix_poems_asker", "poems", ["asker"])
    op.create_index("ix_poems_shown_at", "poems", ["shown_at"])
    op.create_table(
        "showings",
        sa.Column("chat", sa.String(), nullable=False),
        sa.Column("message", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("chat", "message", name="pk_showings"),
        sa.ForeignKeyConstraint(
            ["chat"],
            ["chats.id"],
            name="fk_showings_chat",
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_showings_job", "showings", ["job"])
    op.create_table(
        "ratings",
        sa.Column("poem", sa.String(), nullable=False),
        sa.Column("rater", sa.String(), nullable=False),
        sa.Column("vote", sa.SmallInteger(), nullable=True),
        sa.Column("stars", sa.SmallInteger(), nullable=True),
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("chat", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("poem", "rater", name="pk_ratings"),
        sa.ForeignKeyConstraint(["poem"], ["poems.id"], name="fk_ratings_poem", ondelete="CASCADE"),
    )
    for column in ("rater", "chat", "at"):
        op.create_index(f"ix_ratings_{column}", "ratings", [column])
    op.create_table(
        "consents",
        sa.Column("rater", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("given", sa.Boolean(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("rater", name="pk_consents"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    for column in ("at", "actor"):
        op.create_index(f"ix_audit_{column}", "audit", [column])
    _hide_chats()


def downgrade() -> None:
    """Drop the tables and columns; pseudonyms cannot be undone."""
    for table in ("audit", "consents", "ratings", "showings"):
        op.drop_table(table)
    op.drop_index("ix_poems_asker", table_name="poems")
    op.drop_index("ix_poems_shown_at", table_name="poems")
    # Not by a copy of the table: dropping the old one would take with it all that refers to it.
    for name in ("asker", "wanted_rhyme", "theme"):
        op.drop_column("poems", name)
    for name in ("chosen_language", "chosen_script", "admins_curate"):
        op.drop_column("chats", name)


def _hide_chats() -> None:
    """Poems follow their chat's new id by the foreign key."""
    pseudonyms = context.config.attributes["pseudonyms"]
    connection = op.get_bind()
    chats = sa.table("chats", sa.column("id", sa.String()))
    for name in connection.scalars(sa.select(chats.c.id)).all():
        connection.execute(
            sa.update(chats).where(chats.c.id == name).values(id=pseudonyms.of(name))
        )
