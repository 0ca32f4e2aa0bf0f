"""Whom an entry of the audit log is about."""

import sqlalchemy as sa
from alembic import op

revision = "v0004"
down_revision = "v0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("audit", sa.Column("subject", sa.String(), nullable=True))
    op.create_index("ix_audit_subject", "audit", ["subject"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_audit_subject", table_name="audit")
    op.drop_column("audit", "subject")
