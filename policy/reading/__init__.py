"""Reads Cedar text with the place of every part. Cedar alone decides what a text means; this finds where."""
