"""People who decide in a chat: whose chat identity it is, and what they may do there (R30, R31)."""
