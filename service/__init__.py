"""Muniment: an asset tokenization ledger."""
