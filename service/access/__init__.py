"""Issuers, their callers and the API keys that callers hold."""
