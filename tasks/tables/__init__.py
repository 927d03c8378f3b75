"""The state table and its companions: written in one commit, read, kept small."""
