"""What a run is asked to do, and how its words are read: settings, errors, moments, secrets."""
