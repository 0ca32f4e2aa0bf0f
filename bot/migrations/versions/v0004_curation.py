"""Whom an entry of the audit log is about; indexes for leaderboards and people's own poems."""

import sqlalchemy as sa
from alembic import op

revision = "v0004"
down_revision = "v0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; let indexes tell the order too."""
    op.add_column("audit", sa.Column("subject", sa.String(), nullable=True))
    op.create_index("ix_audit_subject", "audit", ["subject"])
    for column in ("chat", "asker"):
        op.drop_index(f"ix_poems_{column}", table_name="poems")
        op.create_index(f"ix_poems_{column}_shown_at", "poems", [column, "shown_at"])


def downgrade() -> None:
    """Drop them again."""
    for column in ("chat", "asker"):
        op.drop_index(f"ix_poems_{column}_shown_at", table_name="poems")
        op.create_index(f"ix_poems_{column}", "poems", [column])
    op.drop_index("ix_audit_subject", table_name="audit")
    op.drop_column("audit", "subject")
