"""Governors: what the holders of a governance token propose, vote on, and have carried out."""
