"""How an intent reaches the chain: nonces, fees, attempts, and the sender that drives them."""
