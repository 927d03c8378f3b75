"""What a person sees of a run: data, view, page, pictures."""
