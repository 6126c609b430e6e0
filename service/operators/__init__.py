"""What operators see and steer: transactions, signers, metrics, rotations."""
