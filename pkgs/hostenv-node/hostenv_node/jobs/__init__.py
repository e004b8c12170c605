"""A node's part of jobs: what the provider asks, what was done of it, what is next (contract 7 and 8)."""
