"""Telling people: what a notice says, and the channels that bring it."""
