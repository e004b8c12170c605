"""The plan and what it is made of: settings, projects, placement, generated files. Data in, data out."""
