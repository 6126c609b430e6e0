"""Webhooks: what is final of an issuer, told to the addresses that it named."""
