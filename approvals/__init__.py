"""The life of an access request: a pure core. Time, ids and membership are arguments."""
