"""The web listener: pages for people, and what other services call. One file a part, which declares its routes."""
