"""Telling people and other systems what happened: who is told what, and that it arrives (R29, R30)."""
