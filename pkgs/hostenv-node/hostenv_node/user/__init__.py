"""What is done in an environment's home, by its user; root imports nothing of it but the command."""
