"""SCIM 2.0 (RFC 7643, RFC 7644): identity providers keep the directory fresh without anybody signing in (R31)."""
