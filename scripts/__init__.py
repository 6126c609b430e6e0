"""Scripts: one job each."""
