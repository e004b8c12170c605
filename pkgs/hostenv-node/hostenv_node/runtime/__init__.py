"""The environments on a node: what they consist of, and the operations that move them (contract 8)."""
