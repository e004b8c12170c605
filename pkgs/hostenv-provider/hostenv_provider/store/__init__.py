"""The database, which nothing else reads or writes."""
