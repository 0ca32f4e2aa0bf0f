"""Chats with their style, and the poems shown to them."""

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "chats",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("cell", sa.String(), nullable=False),
        sa.Column("temperature", sa.Double(), nullable=False),
        sa.Column("form", sa.String(), nullable=True),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_chats"),
    )
    op.create_table(
        "poems",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("chat", sa.String(), nullable=False),
        sa.Column("lines", sa.JSON(), nullable=False),
        sa.Column("form", sa.String(), nullable=False),
        sa.Column("rhyme", sa.String(), nullable=False),
        sa.Column("cell", sa.String(), nullable=False),
        sa.Column("checkpoint", sa.String(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("temperature", sa.Double(), nullable=False),
        sa.Column("logprob", sa.Double(), nullable=False),
        sa.Column("opening", sa.String(), nullable=False),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_poems"),
        sa.ForeignKeyConstraint(
            ["chat"],
            ["chats.id"],
            name="fk_poems_chat",
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_poems_chat", "poems", ["chat"])


def downgrade() -> None:
    """Drop both tables."""
    op.drop_index("ix_poems_chat", table_name="poems")
    op.drop_table("poems")
    op.drop_table("chats")
