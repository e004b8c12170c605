"""What both sides mean by the same words. It imports no other package, and importing it imports nothing."""
