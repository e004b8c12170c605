"""What root and the environment's user both know of an environment: its entry, its paths, its record."""
