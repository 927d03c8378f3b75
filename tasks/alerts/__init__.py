"""What deserves an alert, found in the tables alone; who was told of it."""
