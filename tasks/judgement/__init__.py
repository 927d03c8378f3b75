"""Whether a model may be used: identity, gate, champion, promotion, causality."""
