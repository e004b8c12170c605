"""What comin starts on a node, what it is asked, and the generation that it deployed (contract 3 and 8)."""
