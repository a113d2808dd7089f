"""Inputs that a peer would not send by chance, and what must hold for each of them."""
