"""Tokens, accounts and secrets: who made them, where they lie, how they are replaced."""
