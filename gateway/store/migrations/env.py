"""Run by Alembic with the connection that `gateway.store.migrate` hands it; there is no other way in."""

from alembic import context

from gateway.store import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    transactional_ddl=False,  # the caller's transaction holds all steps: they happen together or not at all
)
context.run_migrations()
