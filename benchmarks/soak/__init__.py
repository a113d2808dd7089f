"""Long runs of a server under load and faults, and the bars that they must clear."""
