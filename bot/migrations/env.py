"""Run by Alembic: migrate on the connection that `bot.anthology.migrate` opened."""

from alembic import context

from bot.anthology.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite changes a table by copying it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
