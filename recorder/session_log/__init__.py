"""The output of sessions as JSON lines while they run: for people who watch and search, beside the recording.

It never holds a session up: what cannot be delivered in time is dropped, and a line says how much.
"""
