"""What an issuer has on the chain besides tokens."""
