"""Assets, the accounts that may hold them, and the tokens that represent them."""
