"""The operations on a node's environments, as root (contract 7 and 8)."""
