"""What the tracking server is told of a run."""
