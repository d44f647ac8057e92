"""Everything that goes wrong in a run: which faults a seed draws, and the code that injects them."""
