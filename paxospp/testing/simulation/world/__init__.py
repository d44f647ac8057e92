"""The simulated world: nodes assembled from their real parts, on virtual time, disks and networks."""
