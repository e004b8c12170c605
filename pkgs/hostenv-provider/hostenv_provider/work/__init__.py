"""What the service does by itself: the stages of jobs and the check of what was deployed."""
