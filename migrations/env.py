"""Alembic's entry: on the connection that `service.migrate` hands over, and on no other road."""

from alembic import context

from service.migrate import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_schemas=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
