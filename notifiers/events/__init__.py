"""Events for programs: what happened, as it stands in the audit log, sent to where other systems listen (R29)."""
