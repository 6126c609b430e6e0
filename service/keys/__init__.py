"""Key material: the signers that send transactions, and managed accounts' keys at rest."""
