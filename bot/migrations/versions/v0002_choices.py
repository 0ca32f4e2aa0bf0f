"""Poems to choose from, and all that it takes to show a poem again."""

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None

_NEW = ("job", "number", "script", "language", "picked_at")


def upgrade() -> None:
    """Add the columns; every poem so far is the only one of its job."""
    op.add_column("poems", sa.Column("job", sa.String(), nullable=True))
    op.add_column("poems", sa.Column("number", sa.Integer(), nullable=True))
    op.add_column("poems", sa.Column("script", sa.String(), nullable=True))
    op.add_column("poems", sa.Column("language", sa.String(), nullable=True))
    op.add_column("poems", sa.Column("picked_at", sa.DateTime(timezone=True), nullable=True))
    # Nobody noted the script so far; simplified is what most were shown in.
    op.execute(
        "UPDATE poems SET job = id, number = 1, script = 'simplified', language = "
        "(SELECT language FROM chats WHERE chats.id = poems.chat)"
    )
    with op.batch_alter_table("poems") as poems:
        for name, kind in (
            ("job", sa.String()),
            ("number", sa.Integer()),
            ("script", sa.String()),
            ("language", sa.String()),
        ):
            poems.alter_column(name, existing_type=kind, nullable=False)
    op.create_index("ix_poems_job", "poems", ["job"])


def downgrade() -> None:
    """Drop the columns, and the poems that are not the first of their job."""
    op.execute("DELETE FROM poems WHERE number > 1")
    op.drop_index("ix_poems_job", table_name="poems")
    with op.batch_alter_table("poems") as poems:
        for name in _NEW:
            poems.drop_column(name)
