"""From an environment's entry to the text of its files (contract 8). Pure."""
