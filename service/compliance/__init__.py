"""Who may hold an issuer's tokens, what stands behind them, and whether a transfer would pass."""
