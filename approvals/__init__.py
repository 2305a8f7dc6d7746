"""The life of an access request: a pure core. Values in, values out; time, ids and membership are arguments."""
