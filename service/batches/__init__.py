"""Batches: many rows of one kind, packed into few transactions, each exactly once."""
