"""Git: the provider's repository, the nodes', the projects' sources, and planning with its effects."""
