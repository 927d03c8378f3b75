"""The tables of the configuration, each in a file of its own."""
