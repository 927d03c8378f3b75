"""What an unknown source seems to be: every guess has its reason, and is tried on what a night would read."""
