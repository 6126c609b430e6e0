"""Governors: proposals, votes, and what comes of them."""
