"""Programs that run on machines, of the standard library alone."""
