"""The chain's ownership records in Postgres: what each block said, when it was shown, and whether it still stands."""
