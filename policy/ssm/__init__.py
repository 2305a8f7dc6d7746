"""Policies as AWS writes them, as content of Systems Manager documents in JSON or YAML, to our model and back."""
