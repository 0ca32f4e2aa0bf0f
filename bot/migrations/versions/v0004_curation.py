"""Poems that curators skipped; whom an audit entry is about; indexes that tell the order too."""

import sqlalchemy as sa
from alembic import op

revision = "v0004"
down_revision = "v0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, the column and the indexes."""
    op.add_column("audit", sa.Column("subject", sa.String(), nullable=True))
    op.create_index("ix_audit_subject", "audit", ["subject"])
    for column in ("chat", "asker"):
        op.drop_index(f"ix_poems_{column}", table_name="poems")
        op.create_index(f"ix_poems_{column}_shown_at", "poems", [column, "shown_at"])
    op.drop_index("ix_ratings_rater", table_name="ratings")
    op.create_index("ix_ratings_rater_at", "ratings", ["rater", "at"])
    starred = sa.text("stars IS NOT NULL")
    op.create_index(
        "ix_ratings_poem_stars",
        "ratings",
        ["poem", "stars"],
        sqlite_where=starred,
        postgresql_where=starred,
    )
    op.create_table(
        "skips",
        sa.Column("poem", sa.String(), nullable=False),
        sa.Column("rater", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("poem", "rater", name="pk_skips"),
        sa.ForeignKeyConstraint(["poem"], ["poems.id"], name="fk_skips_poem", ondelete="CASCADE"),
    )
    op.create_index("ix_skips_rater_at", "skips", ["rater", "at"])


def downgrade() -> None:
    """Drop them again."""
    op.drop_table("skips")
    op.drop_index("ix_ratings_poem_stars", table_name="ratings")
    op.drop_index("ix_ratings_rater_at", table_name="ratings")
    op.create_index("ix_ratings_rater", "ratings", ["rater"])
    for column in ("chat", "asker"):
        op.drop_index(f"ix_poems_{column}_shown_at", table_name="poems")
        op.create_index(f"ix_poems_{column}", "poems", [column])
    op.drop_index("ix_audit_subject", table_name="audit")
    op.drop_column("audit", "subject")
