"""Libraries to measure, one small file each, each run in an environment of its own."""
