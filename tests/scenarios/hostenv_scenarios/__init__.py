"""What the fault scenarios share; both drivers import it, and everything gets their machines as arguments."""
