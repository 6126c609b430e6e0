"""HTTP without nouns: problems, idempotency, paging, limits."""
