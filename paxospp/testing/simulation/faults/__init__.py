"""Everything that goes wrong in a run: which faults a seed draws, and the code that injects them.

Names such as N1 and D6 are those of the families of faults, which ``families`` defines.
"""
