"""Vault tokens and what stands behind them: policies, keys, sealed values, and their erasure."""
