"""One accepted intent, exactly once."""
