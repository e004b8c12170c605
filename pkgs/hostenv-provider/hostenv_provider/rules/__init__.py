"""What must happen and what may: jobs, their queue, intents. Functions of recorded state."""
