"""Foreign keys that are not looked up, where a DBA has allowed the role of the bridge to do without (PostgreSQL 15).

PostgreSQL looks up what each row refers to, 33 times for a trace of eight spans: two fifths of the time that it spends
on one. All of it is known: it is traces of the same transaction, and one experiment, which is locked here as the
look-ups would have locked it. So a role of the bridge's own that may set `session_replication_role` need not ask:

    GRANT SET ON PARAMETER session_replication_role TO bridge

That a superuser may do so anyway does not count: it has to be said. Triggers of others would not fire either, so where
a table has one nothing is left out.
"""

from __future__ import annotations

from sqlalchemy import Connection

FIRST_WITH_GRANTS = 15
"""The version of PostgreSQL from which on a role can be granted to set a parameter."""
_IS_ALLOWED = """
SELECT EXISTS (
  SELECT FROM pg_parameter_acl, aclexplode(paracl)
  WHERE parname = 'session_replication_role' AND privilege_type = 'SET'
  AND grantee = quote_ident(current_user)::regrole AND grantee <> grantor
) AND has_table_privilege('experiments', 'UPDATE') AND NOT EXISTS (
  SELECT FROM pg_trigger WHERE NOT tgisinternal
  AND tgrelid = ANY ('{trace_info,spans,trace_tags,trace_request_metadata,entity_associations}'::regclass[])
)
"""
_LOCK = "SELECT count(*) FROM (SELECT FROM experiments WHERE experiment_id = %s FOR KEY SHARE) AS locked"
_LEAVE_OUT = "SET LOCAL session_replication_role = replica"


def leave_out_references(connection: Connection, experiment_id: int) -> None:
    """Leave foreign keys unchecked for the rest of a transaction, if its role may and no trigger would be missed.

    Args:
        connection: In a transaction that inserts whole traces of one experiment, and nothing else.
        experiment_id: The experiment, which is locked against deletion as the look-ups would have locked it.
    """
    dialect = connection.dialect
    if dialect.name != "postgresql" or (dialect.server_version_info or ()) < (FIRST_WITH_GRANTS,):
        return
    if not connection.exec_driver_sql(_IS_ALLOWED).scalar_one():
        return
    if connection.exec_driver_sql(_LOCK, (experiment_id,)).scalar_one():
        connection.exec_driver_sql(_LEAVE_OUT)
