"""Several chains whose levels add up: inference that is linear in their number, and the exact one beside it."""
