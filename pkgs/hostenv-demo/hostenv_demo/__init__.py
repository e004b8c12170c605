"""The demo: a site moves from one machine to another while somebody watches."""
